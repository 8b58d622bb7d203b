/** After a time without work, this much may go at once; a sleep that lasts too long is made up for within it. */
const burstMs = 100;

/** A limit, and how far it is used up: plain data that works in several threads can share, one after the other. */
export interface PaceState {
  /** null: no limit. */
  bytesPerSecond: number | null;
  /** One number: when the next may begin, in milliseconds of the monotonic clock. */
  dueMs: SharedArrayBuffer;
}

export function newPace(bytesPerSecond: number | null): PaceState {
  const dueMs = new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT);
  new Float64Array(dueMs)[0] = monotonicMs();
  return { bytesPerSecond, dueMs };
}

/** Holds a thread back so that it does no more than so many bytes in a second. */
export class Pace {
  readonly #bytesPerMs: number | null;
  readonly #due: Float64Array;
  readonly #never = new Int32Array(new SharedArrayBuffer(4));
  /** How long the thread was held back. */
  heldMs = 0;

  /** @param limit bytes in a second, null for no limit; or what works before this one have left of it */
  constructor(limit: number | null | PaceState) {
    const { bytesPerSecond, dueMs } = limit === null || typeof limit === 'number' ? newPace(limit) : limit;
    this.#bytesPerMs = bytesPerSecond === null ? null : bytesPerSecond / 1000;
    this.#due = new Float64Array(dueMs);
  }

  /** After so much was done: returns when the next may begin. Blocks the thread: never the main one. */
  spend(bytes: number): void {
    const waitMs = this.waitMsAfter(bytes);
    if (waitMs <= 0) return;
    const startedMs = monotonicMs();
    Atomics.wait(this.#never, 0, 0, waitMs);
    this.heldMs += monotonicMs() - startedMs;
  }

  /** After so much was done: how long to wait, for whoever can't be blocked. */
  waitMsAfter(bytes: number): number {
    if (this.#bytesPerMs === null) return 0;
    const nowMs = monotonicMs();
    const dueMs = Math.max(this.#due[0] ?? 0, nowMs - burstMs) + bytes / this.#bytesPerMs;
    this.#due[0] = dueMs;
    return dueMs - nowMs;
  }
}

/** The same in all threads, which `performance.now()` is not. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
