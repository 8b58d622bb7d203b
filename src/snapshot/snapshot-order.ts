import type { CaptureFacts, CaptureProgress } from '../capture/capture.js';
import type { GuestConfig } from '../config/config.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import type { Manifest, Owner } from '../store/manifest.js';
import type { PhaseJournal } from './phase-journal.js';
import type { SnapshotHistory, SnapshotLog, SnapshotStore } from './ports.js';
import type { CapturePlan } from './preflight.js';
import type { Retained } from './retain.js';

export interface SnapshotOrder {
  job: string;
  /** Whose the snapshot is. */
  owner: Owner;
  /** With what the command line changed in it. */
  config: GuestConfig;
  labels: Record<string, string>;
  pinned: boolean;
  /** Preflight only: nothing is stopped, nothing kept. */
  dryRun: boolean;
  stateDirectory: string;
  /** Told of a precopy while it goes on; the guest runs. */
  onProgress: (progress: CaptureProgress) => void;
  /** Aborted with the reason why the job is to be given up. */
  signal: AbortSignal;
}

/** Asked when the job needs it: who listens may change while it waits for others. */
export type FindSource = () => Promise<NotificationSource | undefined>;

export interface SnapshotPorts {
  store: SnapshotStore;
  history: SnapshotHistory;
  journal: PhaseJournal;
  log: SnapshotLog;
  /** Somebody who listens to this guest's notifications already; otherwise the job does. */
  notifications?: FindSource;
}

export interface SnapshotTaken {
  plan: CapturePlan;
  /** null: it was not captured by precopy. */
  precopy: CaptureFacts | null;
  /** null: it was a dry run. */
  manifest: Manifest | null;
  /** How often the guest was stopped to find it clean. */
  tries: number;
  /** An agent in the guest was there to freeze it, whatever became of that. */
  hasAgent: boolean;
  /** Devices that it wrote from its sync to the stop. */
  written: string[];
  removed: Retained['removed'];
  warnings: string[];
}
