import { type CompareBuffers, compareRange, newCompareBuffers } from '../../image/compare-range.js';
import { Pace } from '../../image/pace.js';
import { setThreadPriority } from '../../priority.js';
import { onDisk } from '../capture-trouble.js';
import type { ThreadAnswer, ThreadData, ThreadDisk } from './work-thread.js';

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

  /** @param sampleMs null: all of it @throws SourceChanged, CaptureFailed */
  run(sampleMs: number | null): ThreadAnswer {
    this.#comparedBytes = 0;
    this.#writtenBytes = 0;
    // A sample is taken while the guest runs: it must not feel it.
    if (!this.#isBackground) setThreadPriority(sampleMs === null ? 'urgent' : 'ordinary');
    const untilMs = sampleMs === null ? Number.POSITIVE_INFINITY : performance.now() + sampleMs;
    const limitBytes = sampleMs === null ? Number.POSITIVE_INFINITY : sampleChunkBytes;
    while (performance.now() < untilMs) {
      const turn = Atomics.add(this.#nextChunk, 0, 1);
      const chunk = sampleMs === null ? this.#chunks[turn] : sampleChunk(this.#chunks, turn);
      if (chunk === undefined) break;
      const disk = this.#disks[chunk.diskIndex];
      if (disk !== undefined) onDisk(disk, () => this.#compare(disk, chunk, limitBytes));
    }
    return { type: 'compared', comparedBytes: this.#comparedBytes, writtenBytes: this.#writtenBytes };
  }

  #compare(disk: ThreadDisk, chunk: Chunk, limitBytes: number): void {
    const pace = (lengthBytes: number) => this.#pace.spend(lengthBytes);
    const { comparedBytes, writtenBytes } = compareRange(disk, this.#buffers, chunk, pace, limitBytes);
    this.#comparedBytes += comparedBytes;
    this.#writtenBytes += writtenBytes;
  }
}

/** A part of a disk that one thread takes. */
export interface Chunk {
  diskIndex: number;
  offset: number;
  length: number;
}

const leastChunkBytes = 8 * 1024 * 1024;
/** More are not needed to keep the threads equally busy, and each costs a look at two maps of holes. */
const maxChunksPerDisk = 2048;

export function chunksOf(sizesBytes: number[]): Chunk[] {
  return sizesBytes.flatMap((sizeBytes, diskIndex) => {
    const chunkBytes = Math.max(leastChunkBytes, roundUp(sizeBytes / maxChunksPerDisk, leastChunkBytes));
    const count = Math.ceil(sizeBytes / chunkBytes);
    return Array.from({ length: count }, (_, index) => {
      const offset = index * chunkBytes;
      return { diskIndex, offset, length: Math.min(chunkBytes, sizeBytes - offset) };
    });
  });
}

/** The `turn`th chunk of a sample: the turns are spread over all chunks, so that any first few see every region of the disks. */
export function sampleChunk(chunks: Chunk[], turn: number): Chunk | undefined {
  if (turn >= chunks.length) return undefined;
  return chunks[(turn * strideFor(chunks.length)) % chunks.length];
}

/** Near the golden section of the count, which spreads best, and without a common divisor, so that every turn is another chunk. */
function strideFor(count: number): number {
  let stride = Math.max(1, Math.round(count * 0.618));
  while (commonDivisor(stride, count) !== 1) stride++;
  return stride;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
