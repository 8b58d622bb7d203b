import type { Stamp } from '../image/open-disk.js';

/** A method of capturing, in the process that does it: armed while the guest runs, through while it stands still. */

export type CaptureMethod = 'reflink' | 'precopy' | 'copy';

export interface CaptureDisk {
  device: string;
  /** The disk, open for reading, and checked to be the one that the guest has open. */
  sourceFd: number;
  sizeBytes: number;
  /** Must not exist yet. */
  targetPath: string;
}

/** The two files of a disk right after its capture: who touches either later has a stamp to answer to. */
export interface CapturedDisk {
  source: Stamp;
  target: Stamp;
}

/** By device. */
export type CapturedDisks = Map<string, CapturedDisk>;

/** How long a comparison in the pause would take. */
export interface Prediction {
  predictedMs: number;
  dataBytes: number;
}

export interface CaptureProgress {
  doneBytes: number;
  totalBytes: number;
}

/** Of a capture that begins while the guest runs, for the job's record. */
export interface CaptureFacts {
  /** null: the disks are shared or copied in the pause, with nothing before it. */
  tracker: 'traced' | 'compared' | null;
  /** Why the disks were compared or shared in the pause, though tracing was asked for. */
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

export interface Capture {
  readonly facts: CaptureFacts;
  /** Has to be judged clean before it takes the rest, or not: see PausedCapture. */
  readonly isCheap: boolean;
  /** A reflink in the pause writes out what is dirty of the disk on the host: it is to be written before. */
  readonly wantsHostSync: boolean;
  /** Has the host write what the guest wrote to its disks. @throws SourceChanged, CaptureFailed */
  syncOnHost(): Promise<void>;
  progress(): CaptureProgress;
  /** A doubt is found in the middle of a long copy too. @throws TrackingLost */
  lookAtTracking(): void;
  /** For minutes, until little is left for the pause or it gets no less. @throws CaptureFailed, SourceChanged, TrackingLost */
  arm(): Promise<void>;
  /**
   * Takes up what the guest wrote since, and does once what the pause will do: code takes long when it runs for the first time.
   * @param roundsLimitMs no other round of copying begins after it; null: as long as it gets less
   * @returns what the pause would take, where it compares
   * @throws CaptureFailed, SourceChanged, TrackingLost
   */
  catchUp(roundsLimitMs: number | null): Promise<Prediction | null>;
  /**
   * Goes on with that, between the looks for a moment to stop. Blocking.
   * @returns whether it has caught up within the limit
   * @throws as `catchUp`
   */
  keepUp(limitMs: number): boolean;
  /**
   * The last thing before a stop: what is left is taken into memory, and what the guest writes meanwhile too, until that is next to
   * nothing. Blocking, for milliseconds. @throws as `catchUp`
   */
  takeAhead(): void;
  /** In the pause. Blocking; done once, it can't be done again, but after TrackingLost in another pause. */
  takeRest(): void;
  /** In the pause, after the last byte. @throws SourceChanged, TrackingLost */
  prove(): void;
  /**
   * After the pause, whether it is kept or not: the rest of the proof, and what was held in memory goes to the copies.
   * @throws CaptureFailed, TrackingLost
   */
  finish(): CapturedDisks;
  /** After the last pause: gives up what slows the guest. */
  end(): void;
}
