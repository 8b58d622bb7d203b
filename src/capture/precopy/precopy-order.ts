import type { CaptureDisk } from '../capture.js';
import type { DiskWriter } from './write-tracker.js';

/** What a precopy is to do. */
export interface PrecopyOrder {
  guest: string;
  disks: CaptureDisk[];
  tracking: Tracking;
  /** Limits what is copied while the guest runs; null: no limit. */
  bytesPerSecond: number | null;
  /** What is left is small enough for the pause when copying it takes no longer. */
  pauseTargetMs: number;
  /** A comparison that would take longer is refused before the stop. */
  budgetMs: number;
  onProgress?: (progress: PrecopyProgress) => void;
  signal: AbortSignal;
}

export type Tracking =
  | {
      by: 'tracing';
      writers: DiskWriter[];
      /** Every process of the guest that has a disk open. */
      guestPids: number[];
      /** Whether the disks are compared in the pause when tracing is in doubt; else the capture fails. */
      mayCompare: boolean;
      /** Of the trace buffer, for each CPU. */
      bufferKib?: number;
    }
  | { by: 'comparing' };

export interface PrecopyProgress {
  doneBytes: number;
  totalBytes: number;
}

/** For the job's record. */
export interface PrecopyFacts {
  tracker: 'traced' | 'compared';
  /** Why the disks were compared though tracing was asked for. */
  trackerProblem: string | null;
  /** Copied while the guest ran, all rounds together. */
  precopiedBytes: number;
  rounds: number;
  /** Whether what was left became small enough for the pause, before the urgent copying right before the stop. */
  converged: boolean;
  /** How fast the guest wrote and how fast we copied in the last round; null: there was nothing to measure. */
  guestBytesPerSecond: number | null;
  copyBytesPerSecond: number | null;
  /** Written into the copy during the pause. */
  pausedBytes: number | null;
  /** Read and compared during the pause, of each file. */
  comparedBytes: number | null;
  /** Whether the accounts of the tracing came out even; null: nothing was traced, or the pause was not reached. */
  proof: 'held' | 'failed' | null;
  /** Traced bytes that the kernel's own count confirms. */
  accountedBytes: number | null;
}
