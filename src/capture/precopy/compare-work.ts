import { type CompareBuffers, compareRange, newCompareBuffers } from '../../image/compare-range.js';
import { Pace } from '../../image/pace.js';
import { setThreadUrgency } from '../../urgency.js';
import { type Chunk, chunksOf, sampleChunk } from './compare-chunks.js';
import { onDisk } from './disk-trouble.js';
import type { ThreadData, ThreadDisk, ThreadWord } from './thread-words.js';

/** Enough for a rate; so little that a sample sees many places. */
const sampleChunkBytes = 1024 * 1024;

/** One thread's part of a comparison: takes the next chunk that nobody has, until none is left. Blocking. */
export class CompareWork {
  readonly #disks: ThreadDisk[];
  readonly #chunks: Chunk[];
  readonly #nextChunk: Int32Array;
  readonly #pace: Pace;
  readonly #isBackground: boolean;
  readonly #buffers: CompareBuffers = newCompareBuffers();
  #comparedBytes = 0;
  #writtenBytes = 0;

  constructor(data: ThreadData) {
    this.#disks = data.disks;
    this.#chunks = chunksOf(data.disks.map(({ sizeBytes }) => sizeBytes));
    this.#nextChunk = new Int32Array(data.nextChunk);
    this.#isBackground = data.isBackground;
    this.#pace = new Pace(data.bytesPerSecond);
  }

  /** @param sampleMs null: all of it @throws DiskTrouble */
  run(sampleMs: number | null): ThreadWord {
    this.#comparedBytes = 0;
    this.#writtenBytes = 0;
    // A sample is taken while the guest runs: it must not feel it.
    if (!this.#isBackground) setThreadUrgency(sampleMs === null ? 'urgent' : 'ordinary');
    const untilMs = sampleMs === null ? Number.POSITIVE_INFINITY : performance.now() + sampleMs;
    const limitBytes = sampleMs === null ? Number.POSITIVE_INFINITY : sampleChunkBytes;
    while (performance.now() < untilMs) {
      const turn = Atomics.add(this.#nextChunk, 0, 1);
      const chunk = sampleMs === null ? this.#chunks[turn] : sampleChunk(this.#chunks, turn);
      if (chunk === undefined) break;
      const disk = this.#disks[chunk.diskIndex];
      if (disk !== undefined) onDisk(disk, () => this.#compare(disk, chunk, limitBytes));
    }
    return { is: 'compared', comparedBytes: this.#comparedBytes, writtenBytes: this.#writtenBytes };
  }

  #compare(disk: ThreadDisk, chunk: Chunk, limitBytes: number): void {
    const pace = (lengthBytes: number) => this.#pace.spend(lengthBytes);
    const { comparedBytes, writtenBytes } = compareRange(disk, this.#buffers, chunk, pace, limitBytes);
    this.#comparedBytes += comparedBytes;
    this.#writtenBytes += writtenBytes;
  }
}
