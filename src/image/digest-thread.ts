import { Worker } from 'node:worker_threads';
import { processEntry } from '../process-entry.js';

/** Over the whole content with its zeros, or over the data alone (`DataDigest`). */
export type DigestKind = 'whole' | 'data';

/** Memory that both threads see: `slots` pieces of `slotBytes`. */
export interface DigestRing {
  kind: DigestKind;
  memory: SharedArrayBuffer;
}

export const slotBytes = 128 * 1024;
const slots = 16;

export type DigestOrder = { slot: number; offset: number; length: number } | { sizeBytes: number };
export type DigestAnswer = { freeSlot: number } | { sha256: string };

/** A digest that is computed in a thread of its own, beside whatever else is done with the data. */
export interface RunningDigest {
  /** Data in rising order. Takes a copy at once, and waits while the thread is too far behind. */
  update(offset: number, bytes: Uint8Array): Promise<void>;
  /** In hex, of an image of this size; nothing more comes after that. */
  finish(sizeBytes: number): Promise<string>;
}

/** Lets `use` have a digest computed; the thread is gone when this has returned. */
export async function withDigestThread<T>(
  kind: DigestKind,
  use: (digest: RunningDigest) => Promise<T>,
): Promise<T> {
  const { digest, end } = startDigestThread(kind);
  try {
    return await use(digest);
  } finally {
    await end();
  }
}

/** For those whose scope is not one function's: `end` MUST be called, and may be at any time. */
export function startDigestThread(kind: DigestKind): { digest: RunningDigest; end(): Promise<void> } {
  const memory = new SharedArrayBuffer(slots * slotBytes);
  const ring: DigestRing = { kind, memory };
  const worker = new Worker(processEntry('digest-worker', import.meta.url), {
    workerData: ring,
    execArgv: [],
  });
  const digest = new SharedRingDigest(worker, Buffer.from(memory));
  return {
    digest,
    async end() {
      await worker.terminate();
    },
  };
}

class SharedRingDigest implements RunningDigest {
  readonly #worker: Worker;
  readonly #memory: Buffer;
  readonly #free = Array.from({ length: slots }, (_, slot) => slot);
  #sha256: string | undefined;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(worker: Worker, memory: Buffer) {
    this.#worker = worker;
    this.#memory = memory;
    worker.on('message', (answer: DigestAnswer) => {
      if ('freeSlot' in answer) this.#free.push(answer.freeSlot);
      else this.#sha256 = answer.sha256;
      this.#wake?.();
    });
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', () => this.#fail(new Error('the thread of a digest ended before it')));
  }

  async update(offset: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += slotBytes) {
      const piece = bytes.subarray(at, at + slotBytes);
      const slot = await this.#wait(() => this.#free.pop());
      this.#memory.set(piece, slot * slotBytes);
      this.#order({ slot, offset: offset + at, length: piece.length });
    }
  }

  async finish(sizeBytes: number): Promise<string> {
    this.#order({ sizeBytes });
    return this.#wait(() => this.#sha256);
  }

  #order(order: DigestOrder): void {
    this.#worker.postMessage(order);
  }

  async #wait<T>(look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }
}
