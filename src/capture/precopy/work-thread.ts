import { Worker } from 'node:worker_threads';
import { processEntry } from '../../process-entry.js';
import { DiskTrouble } from './precopy-words.js';
import type { ThreadData, ThreadOrder, ThreadWord } from './thread-words.js';

/** A thread needs no more than a few buffers, and those lie outside of this. */
const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };

/** One of the threads of the precopy child. It ends with the process, which is killed as a whole. */
export class WorkThread {
  readonly #worker: Worker;
  #answer: ((word: ThreadWord) => void) | null = null;
  #end: ThreadWord | null = null;

  /** Resolves when it is loaded and has its buffers. @throws DiskTrouble */
  static async start(data: ThreadData): Promise<WorkThread> {
    const worker = new Worker(processEntry('precopy-thread'), {
      workerData: data,
      resourceLimits,
      execArgv: [],
    });
    const thread = new WorkThread(worker, data.disks.map(({ device }) => device).join(', '));
    await thread.#next();
    return thread;
  }

  private constructor(worker: Worker, devices: string) {
    this.#worker = worker;
    worker.on('message', (word: ThreadWord) => this.#answer?.(word));
    worker.on('error', (error) => {
      this.#end = {
        is: 'failed',
        device: devices,
        message: error.message,
        code: undefined,
        syscall: undefined,
      };
      this.#answer?.(this.#end);
    });
  }

  /** One order at a time. @throws DiskTrouble */
  ask(order: ThreadOrder): Promise<ThreadWord> {
    this.#worker.postMessage(order);
    return this.#next();
  }

  terminate(): Promise<number> {
    return this.#worker.terminate();
  }

  async #next(): Promise<ThreadWord> {
    const word = await new Promise<ThreadWord>((resolve) => {
      this.#answer = resolve;
      if (this.#end !== null) resolve(this.#end);
    });
    if (word.is === 'changed' || word.is === 'failed') throw new DiskTrouble(word);
    return word;
  }
}
