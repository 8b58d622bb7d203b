/** Who is told of jobs, and what is run around them. Plain data. */

export const alertKinds = [
  'failure',
  'recovery',
  'overdue',
  'stopped',
  'storeLag',
  'halted',
  'warning',
  'level',
] as const;
export type AlertKind = (typeof alertKinds)[number];

/** How somebody is told. */
export type AlertConfig =
  | { by: 'command'; command: [string, ...string[]]; on: AlertKind[] }
  | { by: 'webhook'; address: string; on: AlertKind[] }
  | { by: 'mail'; mailbox: string; on: AlertKind[] }
  | { by: 'ping'; address: string };

export interface HooksConfig {
  /** Before the guest is touched; when it fails, so does the job. */
  before: [string, ...string[]] | null;
  /** After a snapshot that succeeded. */
  after: [string, ...string[]] | null;
  /** After a job that failed. */
  failed: [string, ...string[]] | null;
  timeoutMs: number;
}
