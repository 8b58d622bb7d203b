import type { ImageProgress } from '../image/image-work.js';

const tellEveryMs = 500;

/** Sums up how far the work on several files is, and tells of it twice a second at most. */
export class ByteProgress {
  readonly #totalBytes: number;
  readonly #tell: (progress: { doneBytes: number; totalBytes: number }) => void;
  readonly #doneByFile = new Map<string, number>();
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(totalBytes: number, tell: (progress: { doneBytes: number; totalBytes: number }) => void) {
    this.#totalBytes = totalBytes;
    this.#tell = tell;
  }

  readonly onProgress = (file: string, { doneBytes }: Pick<ImageProgress, 'doneBytes'>): void => {
    this.#doneByFile.set(file, doneBytes);
    if (performance.now() - this.#toldAtMs < tellEveryMs) return;
    this.#toldAtMs = performance.now();
    const sumBytes = [...this.#doneByFile.values()].reduce((sum, bytes) => sum + bytes, 0);
    this.#tell({ doneBytes: Math.min(sumBytes, this.#totalBytes), totalBytes: this.#totalBytes });
  };
}
