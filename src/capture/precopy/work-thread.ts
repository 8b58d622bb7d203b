import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { fromSentError, type SentError, toSentError } from '../../errors.js';
import { processEntry } from '../../process-entry.js';
import type { DiskPair } from '../capture-trouble.js';
import type { SharedBlockMap } from './block-map.js';

/** A disk as a thread gets it; descriptors belong to the whole process, so their numbers are enough. */
export interface ThreadDisk extends DiskPair {
  map: SharedBlockMap;
}

export interface ThreadData {
  disks: ThreadDisk[];
  /** Works while the guest runs: behind everybody else, and no faster than `bytesPerSecond`. */
  isBackground: boolean;
  bytesPerSecond: number | null;
  /** One BigInt64: bytes that the bulk copy has done. */
  progress: SharedArrayBuffer;
  /** One Int32: the next chunk that no comparing thread has taken. */
  nextChunk: SharedArrayBuffer;
}

/** What a thread gets besides: where it answers, and one Int32 that it counts up with each answer. */
export interface ThreadStart extends ThreadData {
  port: MessagePort;
  answers: SharedArrayBuffer;
}

export type ThreadOrder =
  | { type: 'bulk' }
  | { type: 'clone' }
  /** Copies what is marked; stops after a piece when the time is over. */
  | { type: 'round'; limitMs: number }
  /** Compares chunks until none is left; a sample takes the start of chunks all over the disks until its time is over. */
  | { type: 'compare'; sampleMs: number | null };

/** Times are without the waits for the rate limit and for the store to write. */
export type ThreadAnswer =
  | { type: 'ready' }
  | { type: 'copied'; copiedBytes: number; busyMs: number }
  | { type: 'compared'; comparedBytes: number; writtenBytes: number }
  | { type: 'failed'; error: SentError };

/** A thread needs no more than a few buffers, and those lie outside of this. */
const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };

/** One of the threads of the capture process. It ends with the process, which is killed as a whole. */
export class WorkThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #answers: Int32Array;
  #seenAnswers = 0;
  #take: ((answer: ThreadAnswer) => void) | null = null;
  #end: ThreadAnswer | null = null;

  /** Resolves when it is loaded and has its buffers. @throws SourceChanged, CaptureFailed */
  static async start(data: ThreadData): Promise<WorkThread> {
    const { port1, port2 } = new MessageChannel();
    const answers = new SharedArrayBuffer(4);
    const worker = new Worker(processEntry('precopy-thread'), {
      workerData: { ...data, port: port2, answers } satisfies ThreadStart,
      transferList: [port2],
      resourceLimits,
      execArgv: [],
    });
    const thread = new WorkThread(worker, port1, answers);
    await thread.#next();
    return thread;
  }

  private constructor(worker: Worker, port: MessagePort, answers: SharedArrayBuffer) {
    this.#worker = worker;
    this.#port = port;
    this.#answers = new Int32Array(answers);
    port.on('message', (answer: ThreadAnswer) => {
      this.#seenAnswers += 1;
      this.#take?.(answer);
    });
    worker.on('error', (error) => {
      this.#end = { type: 'failed', error: toSentError(error) };
      this.#take?.(this.#end);
    });
  }

  /** One order at a time. @throws SourceChanged, CaptureFailed */
  ask(order: ThreadOrder): Promise<ThreadAnswer> {
    this.#port.postMessage(order);
    return this.#next();
  }

  /** Gives an order in the pause, in which no event loop runs: to be followed by `waitBlocking`. */
  begin(order: ThreadOrder): void {
    this.#port.postMessage(order);
  }

  /** The answer to what was begun. @throws SourceChanged, CaptureFailed */
  waitBlocking(): ThreadAnswer {
    for (;;) {
      const answers = Atomics.load(this.#answers, 0);
      if (answers > this.#seenAnswers) break;
      Atomics.wait(this.#answers, 0, answers);
    }
    this.#seenAnswers += 1;
    const received = receiveMessageOnPort(this.#port) as { message: ThreadAnswer };
    return answerOrError(received.message);
  }

  terminate(): Promise<number> {
    this.#port.close();
    return this.#worker.terminate();
  }

  async #next(): Promise<ThreadAnswer> {
    const answer = await new Promise<ThreadAnswer>((resolve) => {
      this.#take = resolve;
      if (this.#end !== null) resolve(this.#end);
    });
    return answerOrError(answer);
  }
}

function answerOrError(answer: ThreadAnswer): ThreadAnswer {
  if (answer.type === 'failed') throw fromSentError(answer.error);
  return answer;
}
