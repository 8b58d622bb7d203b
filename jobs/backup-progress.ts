import type { PrecopyProgress } from '../src/capture/precopy/precopy-order.js';
import type { Phase } from '../src/snapshot/phase-journal.js';

export interface BackupProgress {
  type: 'progress';
  guest: string;
  phase: Phase;
  /** Of a precopy that goes on. */
  doneBytes?: number;
  totalBytes?: number;
}

/** Whoever is told of progress can block whoever tells: nothing is said in the phases of the pause. */
const silentPhases: readonly Phase[] = ['stop', 'sync', 'capture', 'go'];
const tellEveryMs = 500;

/** Tells how far a backup is: its phases, and in precopy how much is copied. */
export class ProgressTeller {
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

  /** At most twice a second, however often it is called, and only what is new. What comes late, while the guest is being stopped, is dropped. */
  readonly onProgress = ({ doneBytes, totalBytes }: PrecopyProgress): void => {
    if (this.#phase !== 'precopy' || doneBytes === this.#toldBytes) return;
    if (performance.now() - this.#toldAtMs < tellEveryMs) return;
    this.#toldAtMs = performance.now();
    this.#toldBytes = doneBytes;
    this.#tell({ type: 'progress', guest: this.#guest, phase: 'precopy', doneBytes, totalBytes });
  };
}
