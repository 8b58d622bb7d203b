import type { Stamp } from '../image/open-disk.js';

/** The port between the sequence and a method of capturing: armed while the guest runs, run while it stands still. */

export type CaptureMethod = 'reflink' | 'precopy' | 'copy';

export interface CaptureDisk {
  device: string;
  /** The disk, open for reading, and checked to be the one that the guest has open. */
  sourceFd: number;
  sourcePath: string;
  sizeBytes: number;
  /** Must not exist yet. */
  targetPath: string;
}

/** The two files of a disk right after its capture: who touches either later has a stamp to answer to. */
export interface CapturedDisk {
  source: Stamp;
  target: Stamp;
}

export interface ArmedCapture {
  readonly method: CaptureMethod;
  /**
   * While the guest runs, right before each stop: what can be done now is not left to the pause.
   * @param roundsLimitMs no other round of copying begins after it; without, as long as it gets less
   * @throws CaptureFailed, SourceChanged, PredictedPauseOverBudget, or the signal's reason
   */
  catchUp(signal: AbortSignal, roundsLimitMs?: number): Promise<void>;
  /**
   * Captures all disks, or fails as a whole. This is the pause: whoever works on it must do nothing else. Done once, it can't be
   * run again; after `TrackingLost` it can, in another pause.
   * @returns by device
   * @throws CaptureFailed, SourceChanged, TrackingLost, or the signal's reason at once when it aborts
   */
  run(signal: AbortSignal): Promise<Map<string, CapturedDisk>>;
  /** For the job's record, so far. */
  facts(): Record<string, unknown>;
  /** Ends what is still at work and closes the targets. The files stay: they belong to the incoming copy. */
  dispose(): Promise<void>;
}
