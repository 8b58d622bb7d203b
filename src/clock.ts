import { uptime } from 'node:os';

/** Time as the project uses it: wall-clock for what people read, monotonic for every duration. */

export interface Clock {
  /** Wall-clock time; may jump. */
  now(): Date;
  /** Milliseconds of the monotonic clock, with fractions; only differences mean something. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
};

/** `20261121T031500Z`: the UTC second as snapshot and job names carry it. */
export function compactUtc(date: Date): string {
  return `${date.toISOString().slice(0, 19).replaceAll('-', '').replaceAll(':', '')}Z`;
}

/** Milliseconds since the boot, sleep included: runs on however the wall clock is set. Means something within one boot. */
export function uptimeMs(): number {
  return Math.round(uptime() * 1000);
}
