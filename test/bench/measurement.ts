import type { MethodName } from './methods.js';
import type { BenchFilesystem } from './options.js';

/** What one run has shown. */
export interface Run {
  /** From `stop` answered to `go` answered, as the witness before the console has seen it; the longest, if there were several. */
  pausedMs: number;
  /** The gap that the ticker in the guest has seen at that time. */
  tickerMs: number;
  /** The longest gap that it has seen at any other time of the run. */
  otherGapMs: number;
  jobMs: number;
  /** What the guest wrote to its disk meanwhile. */
  guestBytesPerSecond: number;
  /** null: nothing of umlsnap ran. */
  memory: MemoryPeak | null;
  /** What is to be told of it beside the figures; null: all went as asked. */
  remark: string | null;
  /** What umlsnap says that the pause was made of; null: nothing of it ran. */
  inside: string | null;
}

/** Of a command: the most that it held in memory at once. */
export interface MemoryPeak {
  /** Its own process: VmHWM. */
  ownBytes: number;
  /** It and all that it has started: the sum of their RSS, in which what they share counts several times. */
  togetherBytes: number;
}

export interface Setting {
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
