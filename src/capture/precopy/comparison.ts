import { availableParallelism } from 'node:os';
import { dataExtents } from '../../image/sparse-map.js';
import type { Prediction } from '../capture.js';
import type { ComparedPass } from './converge.js';
import type { PrecopyDisk } from './precopy-disk.js';
import { type ThreadAnswer, type ThreadData, WorkThread } from './work-thread.js';

const maxThreads = 4;
const sampleMs = 200;

/** The threads that compare the disks with their copies while the guest stands still. */
export class Comparison {
  readonly #threads: WorkThread[];
  readonly #nextChunk: Int32Array;

  /** Starts the threads: MUST be over before the pause begins. @throws SourceChanged, CaptureFailed */
  static async start(data: ThreadData): Promise<Comparison> {
    const own = { ...data, nextChunk: new SharedArrayBuffer(4), isBackground: false, bytesPerSecond: null };
    const count = Math.min(availableParallelism(), maxThreads);
    const threads = await Promise.all(Array.from({ length: count }, () => WorkThread.start(own)));
    return new Comparison(threads, own.nextChunk);
  }

  private constructor(threads: WorkThread[], nextChunk: SharedArrayBuffer) {
    this.#threads = threads;
    this.#nextChunk = new Int32Array(nextChunk);
  }

  /** Compares everything and writes what differs. Blocking: it is the pause. @throws SourceChanged, CaptureFailed */
  compareAll(): ComparedPass {
    Atomics.store(this.#nextChunk, 0, 0);
    for (const thread of this.#threads) thread.begin({ type: 'compare', sampleMs: null });
    return sumOf(this.#threads.map((thread) => thread.waitBlocking()));
  }

  /**
   * Compares samples of the real pair, as fast as the pause would: tells how long that would take, and warms up what the pause
   * needs.
   * @returns null when no sample had any data
   * @throws SourceChanged, CaptureFailed
   */
  async predict(disks: PrecopyDisk[]): Promise<Prediction | null> {
    const startedMs = performance.now();
    Atomics.store(this.#nextChunk, 0, 0);
    const asked = this.#threads.map((thread) => thread.ask({ type: 'compare', sampleMs }));
    const { comparedBytes } = sumOf(await Promise.all(asked));
    const elapsedMs = performance.now() - startedMs;
    if (comparedBytes === 0) return null;
    const dataBytes = disks.reduce((sum, disk) => sum + dataBytesOf(disk), 0);
    return { predictedMs: Math.ceil((dataBytes * elapsedMs) / comparedBytes), dataBytes };
  }
}

function sumOf(answers: ThreadAnswer[]): ComparedPass {
  const sum: ComparedPass = { comparedBytes: 0, writtenBytes: 0 };
  for (const answer of answers) {
    if (answer.type !== 'compared') continue;
    sum.comparedBytes += answer.comparedBytes;
    sum.writtenBytes += answer.writtenBytes;
  }
  return sum;
}

/** Holes cost a comparison nothing. */
export function dataBytesOf({ sourceFd, sizeBytes }: { sourceFd: number; sizeBytes: number }): number {
  let dataBytes = 0;
  for (const { length } of dataExtents(sourceFd, sizeBytes)) dataBytes += length;
  return dataBytes;
}
