import type { CapturedDisk } from '../capture.js';
import type { DiskWord } from '../disk-word.js';
import type { PrecopyFacts, PrecopyProgress } from './precopy-order.js';
import type { DiskWriter } from './write-tracker.js';

/** What the precopy child is told and says, over its channel. */

export interface PrecopyArmWord {
  is: 'arm';
  /** Our pid: a child that has another parent by now was left behind, and ends. */
  parentPid: number;
  /** The descriptors of disk `i` are the child's `firstDiskFd + 2i` (source) and the next one (target). */
  disks: { device: string; sizeBytes: number }[];
  tracking: ChildTracking;
  bytesPerSecond: number | null;
  pauseTargetMs: number;
}

export type ChildTracking =
  | {
      by: 'tracing';
      instancePath: string;
      writers: DiskWriter[];
      guestPids: number[];
      mayCompare: boolean;
      bufferKib?: number;
    }
  /** With the reason when tracing was asked for. */
  | { by: 'comparing'; problem: string | null };

/** `catchUp` while the guest runs, `go` when it stands still. */
export type PrecopyOrderWord =
  | PrecopyArmWord
  | { is: 'catchUp'; roundsLimitMs: number | null }
  | { is: 'go' };

export type PrecopyWord =
  /** Said several times a second while the guest runs: also the sign that the child lives. */
  | { is: 'progress'; progress: PrecopyProgress; facts: PrecopyFacts }
  | { is: 'armed'; facts: PrecopyFacts }
  | { is: 'caughtUp'; facts: PrecopyFacts; comparison: Prediction | null }
  | { is: 'done'; facts: PrecopyFacts; disks: Map<string, CapturedDisk> }
  | { is: 'lost'; facts: PrecopyFacts; problem: string }
  | DiskWord;

/** How long the comparison in the pause would take. */
export interface Prediction {
  predictedMs: number;
  dataBytes: number;
}

/** Carries such a word to where the words are said. */
export class DiskTrouble extends Error {
  constructor(readonly word: DiskWord) {
    super(word.is);
  }
}
