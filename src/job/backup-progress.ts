import type { CaptureProgress } from '../capture/capture.js';
import type { ImageProgress } from '../image/image-work.js';
import type { Phase } from '../snapshot/phase-journal.js';

/** How far the snapshot is that is carried into a store: of the file that is at it. */
export interface FillProgress extends ImageProgress {
  store: string;
  snapshot: string;
}

export interface BackupProgress {
  type: 'progress';
  guest: string;
  phase: Phase;
  /** Of a store that is being filled. */
  store?: string;
  snapshot?: string;
  /** Of a precopy that goes on, or of the file that is carried into a store. */
  doneBytes?: number;
  totalBytes?: number;
}

/** Whoever is told of progress can block whoever tells: nothing is said in the phases of the pause. */
const silentPhases: readonly Phase[] = ['stop', 'check', 'capture', 'go'];
const tellEveryMs = 500;

/** Tells how far a backup is: its phases, and how much is copied before the pause and carried into other stores after it. */
export class ProgressReporter {
  readonly #guest: string;
  readonly #tell: (progress: BackupProgress) => void;
  #phase: Phase = 'preflight';
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #toldBytes = -1;

  constructor(guest: string, tell: (progress: BackupProgress) => void) {
    this.#guest = guest;
    this.#tell = tell;
  }

  readonly onPhase = (phase: Phase): void => {
    this.#phase = phase;
    if (!silentPhases.includes(phase)) this.#tell({ type: 'progress', guest: this.#guest, phase });
  };

  /** What comes late, while the guest is being stopped, is dropped. */
  readonly onProgress = ({ doneBytes, totalBytes }: CaptureProgress): void => {
    if (this.#phase === 'precopy') this.#tellBytes({ doneBytes, totalBytes });
  };

  readonly onFill = ({ doneBytes, sizeBytes, ...what }: FillProgress): void => {
    this.#tellBytes({ ...what, doneBytes, totalBytes: sizeBytes });
  };

  /** At most twice a second, however often it is called, and only what is new. */
  #tellBytes(progress: Pick<BackupProgress, 'doneBytes' | 'totalBytes' | 'store' | 'snapshot'>): void {
    const { doneBytes = -1 } = progress;
    if (doneBytes === this.#toldBytes || performance.now() - this.#toldAtMs < tellEveryMs) return;
    this.#toldAtMs = performance.now();
    this.#toldBytes = doneBytes;
    this.#tell({ type: 'progress', guest: this.#guest, phase: this.#phase, ...progress });
  }
}
