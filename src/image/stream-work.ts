import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, problemOf } from '../errors.js';
import type { ImagePiece } from './image-content.js';
import { type ImageThread, runOnThread } from './image-thread.js';
import type { ImageWorkOptions, ImageWorkResult, StreamWork } from './image-work.js';
import { Pace } from './pace.js';
import type { Extent } from './sparse-map.js';

/** Small pieces go together, so that a fragmented image does not cost a message for each 4 KiB. */
const batchBytes = 1024 * 1024;
const maxBatchesUnderWay = 4;

/**
 * Hashes an image that comes as a stream, and writes it to an open file where one is given; in another thread, so that
 * whoever makes the stream works meanwhile.
 * @throws what the stream throws; Node's errors of the I/O, with the `syscall` of a read for a stream that is in disorder or
 * too long; or the signal's reason, whatever the stream is waiting for
 */
export async function runStreamWork(
  work: Omit<StreamWork, 'kind'>,
  pieces: AsyncIterable<ImagePiece>,
  options: ImageWorkOptions = {},
): Promise<ImageWorkResult> {
  options.signal?.throwIfAborted();
  return await runOnThread({ kind: 'stream', ...work }, options, (thread) => feed(thread, pieces, options));
}

async function feed(
  thread: ImageThread,
  pieces: AsyncIterable<ImagePiece>,
  { signal, throttled }: ImageWorkOptions,
): Promise<void> {
  const sender = new BatchSender(thread);
  const pace = new Pace(throttled ?? null);
  const iterator = pieces[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await sender.unlessOver(nextPiece(iterator));
      if (next === 'over') return signal?.throwIfAborted();
      if (next.done) return await sender.finish();
      await sender.send(next.value);
      const waitMs = pace.waitMsAfter(next.value.data.length);
      // Whoever makes the stream is held back by our not asking for more.
      if (waitMs > 0) await sender.unlessOver(sleep(waitMs));
    }
  } finally {
    // Not waited for: a stream that hangs would keep us, and whoever opened it closes it.
    void iterator.return?.().catch(() => {});
  }
}

/** A stream that breaks is told as a read that failed, by whatever system call it did: our own writes are the target's. */
async function nextPiece(iterator: AsyncIterator<ImagePiece>): Promise<IteratorResult<ImagePiece>> {
  try {
    return await iterator.next();
  } catch (error) {
    const code = errnoOf(error);
    if (code === undefined) throw error;
    throw Object.assign(new Error(problemOf(error), { cause: error }), { code, syscall: 'read' });
  }
}

/** Sends pieces to the thread, a few batches ahead of it at most. */
class BatchSender {
  readonly #thread: ImageThread;
  #buffer = new Uint8Array(0);
  #pieces: Extent[] = [];
  #bytes = 0;
  #underWay = 0;
  /** The thread has said its last word, whatever for: it failed, or an abort has ended it. */
  #isOver = false;
  #wake: () => void = () => {};

  constructor(thread: ImageThread) {
    this.#thread = thread;
    thread.onTurn = (turn) => {
      if (turn === 'over') this.#isOver = true;
      else this.#underWay -= 1;
      this.#wake();
    };
  }

  /** Waits for something, but no longer than the thread works. */
  async unlessOver<T>(wanted: Promise<T>): Promise<T | 'over'> {
    return await new Promise((resolve, reject) => {
      this.#wake = () => this.#isOver && resolve('over');
      wanted.then(resolve, reject);
      this.#wake();
    });
  }

  /** The piece is copied at once: its buffer is the stream's, which may use it again. */
  async send({ offset, data }: ImagePiece): Promise<void> {
    if (this.#bytes + data.length > this.#buffer.length) {
      await this.#flush();
      this.#buffer = new Uint8Array(Math.max(batchBytes, data.length));
    }
    this.#buffer.set(data, this.#bytes);
    this.#bytes += data.length;
    this.#pieces.push({ offset, length: data.length });
  }

  async finish(): Promise<void> {
    await this.#flush();
    this.#thread.tell({ kind: 'endOfStream' });
  }

  async #flush(): Promise<void> {
    while (this.#underWay >= maxBatchesUnderWay && !this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#thread.tell({ kind: 'batch', data: this.#buffer, pieces: this.#pieces }, [this.#buffer.buffer]);
    this.#underWay += 1;
    this.#pieces = [];
    this.#bytes = 0;
  }
}
