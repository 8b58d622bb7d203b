import type { CaptureChoice, GuestConfig } from '../config/config.js';
import { type RequestName, requestNumbers } from '../config/request-names.js';
import type { ExitCode } from '../exit-codes.js';

/** What may be changed for one snapshot; the rest is as in the config. */
export interface SnapshotOptions {
  budgetMs?: number;
  require?: GuestConfig['require'];
  capture?: CaptureChoice;
  store?: string;
  /** Beside those of the config. */
  labels?: Record<string, string>;
  pinned?: boolean;
  dryRun?: boolean;
  /** Of a prune: a person says that the clock is right, whatever speaks against it. */
  clockIsRight?: boolean;
  wait?: boolean;
}

/** What is asked for. A guest of null is every guest of the config. */
export type ControlCommand =
  | { type: 'snapshot'; guest: string; options: SnapshotOptions }
  | { type: 'verify'; snapshot: string; store?: string }
  /** All snapshots of a guest, or of all. */
  | { type: 'verify'; guest: string | null }
  | { type: 'prune'; guest: string | null; dryRun: boolean; clockIsRight?: boolean }
  | { type: 'status'; guest: string | null }
  | { type: 'drill'; snapshot: string; store?: string }
  /** By the id that another request of the same requester has. */
  | { type: 'cancel'; of: number };

/** Who asks: a process of this host, or a guest about itself. Ids of one mean nothing to another. */
export type Requester = { from: 'host'; pid: number | null } | { from: 'guest'; guest: string };

/** A request as it came: with a type that may be none of ours, or one that is not listened to. */
export interface Request {
  /** 0: no answer is wanted. */
  id: number;
  number: number;
  requester: Requester;
  /** undefined: of a type that nobody knows. */
  command: ControlCommand | undefined;
}

/** The answer to a request, once what it asked for is done. */
export interface Answer {
  type: 'answer';
  id: number;
  /** As the exit code of a command that did the same. */
  status: ExitCode;
  /** What such a command prints with `--json`, but for its progress. */
  output: object[];
  /** Something did not fit, and was left out of `output`. */
  cut: boolean;
}

export function numberOf(name: RequestName): number {
  return requestNumbers[name];
}

/** What the answer to a request may hold at most. */
export const maxOutputBytes = 4 * 1024 * 1024;

/** Makes an answer, without what does not fit into it. */
export function answerOf(id: number, status: ExitCode, output: readonly object[]): Answer {
  let sizeBytes = 0;
  const fitting = output.filter((object) => {
    const bytes = Buffer.byteLength(JSON.stringify(object));
    if (sizeBytes + bytes > maxOutputBytes) return false;
    sizeBytes += bytes;
    return true;
  });
  return { type: 'answer', id, status, output: fitting, cut: fitting.length < output.length };
}
