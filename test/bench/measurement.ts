import type { measureRun } from './measure.js';
import type { MethodName } from './methods.js';
import type { BenchFilesystem } from './options.js';

/** What one run has shown. */
export type Run = Awaited<ReturnType<typeof measureRun>>;

interface Setting {
  filesystem: BenchFilesystem;
  sizeMiB: number;
}

/** All runs of a method on an image of one size. */
export interface Series extends Setting {
  method: MethodName;
  runs: Run[];
  /** One for each run that gave no figure. */
  failures: string[];
}

/** What the load does to the guest by itself, while nobody backs it up. */
export interface Idle extends Setting {
  guestBytesPerSecond: number;
  longestGapMs: number;
}

export interface Measured {
  /** By filesystem: what it lies on. */
  places: Map<string, string>;
  series: Series[];
  idle: Idle[];
  /** What was not measured, and why. */
  leftOut: { what: string; why: string }[];
}
