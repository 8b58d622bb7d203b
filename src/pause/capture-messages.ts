import type { CapturedDisks, CaptureFacts, CaptureMethod, CaptureProgress } from '../capture/capture.js';
import type { IoTask } from '../guest/guest-processes.js';
import type { SentError } from '../errors.js';
import type { ProcessIdentity } from '../process-identity.js';
import type { Looked, PauseMarks, PauseTerms } from './pause.js';

/** What the orchestrator and the capture process say to each other, over its channel. */

/** 0 to 2 are the usual three, 3 is the channel. */
export const pageFd = 4;
/** The descriptors of disk `i` are the child's `firstDiskFd + 2i` (source) and the next one (target). */
export const firstDiskFd = 5;

/** A guest that outruns a capture for so long is not caught up with. */
export const catchUpLimitMs = 60_000;

export type Tracking =
  | {
      type: 'traced';
      /** Of an instance that traces nothing yet. */
      instancePath: string;
      writers: IoTask[];
      /** Every process of the guest that has a disk open. */
      guestPids: number[];
      /** Whether the disks are compared, or shared, in the pause when tracing is in doubt; else the capture fails. */
      mayDoWithout: boolean;
      /** Of the trace buffer, for each CPU. */
      bufferKib?: number;
    }
  /** With the reason when tracing was asked for. */
  | { type: 'untraced'; problem: string | null };

export interface ArmOrder {
  type: 'arm';
  /** Our pid: a child that has another parent by now was left behind, and ends. */
  parentPid: number;
  guest: string;
  method: CaptureMethod;
  disks: { device: string; sizeBytes: number }[];
  tracking: Tracking;
  /** Limits what is copied while the guest runs; null: no limit. */
  bytesPerSecond: number | null;
  /** What is left is small enough for the pause when copying it takes no longer. */
  pauseTargetMs: number;
  /** A comparison that would take longer is refused before the stop. */
  budgetMs: number;
}

export interface PauseOrder {
  type: 'pause';
  socketPath: string;
  main: ProcessIdentity;
  ioTasks: IoTask[];
  /** Before the hunt a round of copying begins no later; null: as long as it gets less. */
  roundsLimitMs: number | null;
  /** How long a moment is looked for in which the guest has nothing to write; null: it is stopped at once. */
  huntMs: number | null;
  /** Without another try the guest is captured as it is, where the config is content with that. */
  isLastTry: boolean;
  isContentWithCrash: boolean;
  terms: Omit<PauseTerms, 'readiness' | 'acceptsDirty'>;
}

export type CaptureOrder = ArmOrder | { type: 'catchUp' } | PauseOrder;

/** A pause that has ended as it should. */
export interface PauseResult {
  type: 'paused';
  facts: CaptureFacts;
  takenAt: Date;
  pausedMs: number;
  /** There was to be no other try: the time to look for a clean moment is used up, or it was told so. */
  wasLastTry: boolean;
  /** Of the hunt, for the record. */
  figures: Record<string, unknown>;
  marks: PauseMarks;
  look: Looked | null;
  /** null: it was not clean enough to be kept, or its capture has failed. */
  disks: CapturedDisks | null;
  error: SentError | null;
}

/** One that has not: how the guest is then, the guardian finds out. */
export interface PauseBroken {
  type: 'broken';
  facts: CaptureFacts;
  how: 'resumedByOthers' | 'gone' | 'alreadyStopped' | 'neverSent' | 'unresolved';
}

export type CaptureMessage =
  /** Said several times a second while the guest runs: also the sign that the child lives. */
  | { type: 'progress'; progress: CaptureProgress; facts: CaptureFacts }
  | { type: 'armed'; facts: CaptureFacts }
  | { type: 'caughtUp'; facts: CaptureFacts }
  | PauseResult
  | PauseBroken
  /** The guest was not stopped. */
  | { type: 'failed'; facts: CaptureFacts; error: SentError };
