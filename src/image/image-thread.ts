import { Worker } from 'node:worker_threads';
import { processEntry } from '../process-entry.js';
import type {
  ImageProgress,
  ImageWork,
  ImageWorkOptions,
  ImageWorkResult,
  LastMessage,
  StreamWork,
  ThreadMessage,
  ThreadRequest,
} from './image-work.js';

/** How long a thread is kept for the next work: to start one takes as long as to hash 100 MiB. */
const keptMs = 10_000;
/** Throttled work makes its thread a throttled one, for good. */
const idle: Record<'throttled' | 'ordinary', ImageThread[]> = { throttled: [], ordinary: [] };

/**
 * Does long work on images in another thread: the main one may have a guest paused, and the pool behind `fs` may be full of fsyncs.
 * @throws Node's errors of the I/O (`syscall` says which side), or the signal's reason.
 */
export async function runImageWork(
  work: ImageWork,
  options: ImageWorkOptions = {},
): Promise<ImageWorkResult> {
  options.signal?.throwIfAborted();
  return await runOnThread(work, options);
}

/**
 * Does one work in a thread; `feed` may talk to it meanwhile. The promise MUST NOT settle before the thread has said its last word, or has
 * ended: the caller closes the descriptors then, and a thread that still wrote to a number would write into whatever file has it next.
 * @throws Node's errors of the I/O (`syscall` says which side), or the signal's reason.
 */
export async function runOnThread(
  work: ImageWork | StreamWork,
  options: ImageWorkOptions,
  feed: (thread: ImageThread) => Promise<void> = async () => {},
): Promise<ImageWorkResult> {
  const others = idle[isThrottled(work) ? 'throttled' : 'ordinary'];
  const thread = others.pop() ?? new ImageThread();
  const abort = () => void thread.end();
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const end = thread.begin(work, options.onProgress);
    await feed(thread);
    const message = await end;
    if (message?.is === 'done') return message.result;
    options.signal?.throwIfAborted();
    if (message?.is === 'failed') throw Object.assign(new Error(message.message), withoutUndefined(message));
    throw new Error('the thread that works on images ended without a word');
  } finally {
    options.signal?.removeEventListener('abort', abort);
    // One that failed, or was to end, may have orders left that it has not read.
    if (thread.isDone) {
      thread.rest();
      others.push(thread);
    } else await thread.end();
  }
}

function isThrottled(work: ImageWork | StreamWork): boolean {
  return 'throttled' in work && work.throttled !== undefined;
}

/** A thread, and the work that it has. */
export class ImageThread {
  readonly #worker = new Worker(processEntry('image-worker'), { execArgv: [] });
  readonly #loaded: Promise<void>;
  #onProgress: ((progress: ImageProgress) => void) | undefined;
  #onLast: () => void = () => {};
  #last: LastMessage | null = null;
  #isEnding = false;
  #restEnd: NodeJS.Timeout | undefined;
  /** Hears of each batch that was taken, and of the last word. */
  onTurn: (turn: 'taken' | 'over') => void = () => {};

  constructor() {
    this.#loaded = new Promise((resolve) => {
      this.#worker.on('message', (message: ThreadMessage) => {
        if (message.is === 'ready') resolve();
        else this.#receive(message);
      });
      this.#worker.once('exit', () => {
        resolve();
        this.#leave();
        this.#over();
      });
    });
    this.#worker.on('error', (error) => {
      this.#last ??= { is: 'failed', message: error.message, code: undefined, syscall: undefined };
    });
  }

  /** @returns its last word, once it is done with the work; null when it was cut short */
  begin(work: ThreadRequest, onProgress: ImageWorkOptions['onProgress']): Promise<LastMessage | null> {
    clearTimeout(this.#restEnd);
    this.#worker.ref();
    this.#onProgress = onProgress;
    this.#last = null;
    this.tell(work);
    return new Promise((resolve) => {
      this.#onLast = () => resolve(this.#last);
    });
  }

  tell(request: ThreadRequest, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(request, transfer);
  }

  get isDone(): boolean {
    return this.#last?.is === 'done' && !this.#isEnding;
  }

  /** For the next work, if that comes soon; meanwhile it keeps no process alive. */
  rest(): void {
    this.onTurn = () => {};
    this.#onProgress = undefined;
    this.#restEnd = setTimeout(() => void this.end(), keptMs).unref();
    this.#worker.unref();
  }

  /**
   * Ends it by force, and waits for that. It MUST NOT happen while the thread loads its modules: koffi, stopped in the middle of that,
   * aborts the whole process (seen, with koffi 3.3).
   */
  async end(): Promise<void> {
    this.#isEnding = true;
    this.#leave();
    await this.#loaded;
    await this.#worker.terminate();
  }

  /** Nothing more is given to it. */
  #leave(): void {
    for (const kept of Object.values(idle)) {
      const at = kept.indexOf(this);
      if (at >= 0) kept.splice(at, 1);
    }
  }

  #receive(message: Exclude<ThreadMessage, { is: 'ready' }>): void {
    if (message.is === 'progress') this.#onProgress?.(message.progress);
    else if (message.is === 'taken') this.onTurn('taken');
    else {
      this.#last = message;
      this.#over();
    }
  }

  #over(): void {
    this.#onLast();
    this.onTurn('over');
  }
}

function withoutUndefined(message: { code: string | undefined; syscall: string | undefined }): {
  code?: string;
  syscall?: string;
} {
  return {
    ...(message.code === undefined ? {} : { code: message.code }),
    ...(message.syscall === undefined ? {} : { syscall: message.syscall }),
  };
}
