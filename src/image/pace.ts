/** After a time without work, this much may go at once; a sleep that lasts too long is made up for within it. */
const burstMs = 100;

/** Holds a thread back so that it does no more than so many bytes in a second. Blocks the thread: never the main one. */
export class Pace {
  readonly #bytesPerMs: number | null;
  readonly #never = new Int32Array(new SharedArrayBuffer(4));
  #dueMs = performance.now();
  /** How long the thread was held back. */
  heldMs = 0;

  /** @param bytesPerSecond null: no limit */
  constructor(bytesPerSecond: number | null) {
    this.#bytesPerMs = bytesPerSecond === null ? null : bytesPerSecond / 1000;
  }

  /** After so much was done: returns when the next may begin. */
  spend(bytes: number): void {
    if (this.#bytesPerMs === null) return;
    const nowMs = performance.now();
    this.#dueMs = Math.max(this.#dueMs, nowMs - burstMs) + bytes / this.#bytesPerMs;
    const waitMs = this.#dueMs - nowMs;
    if (waitMs <= 0) return;
    Atomics.wait(this.#never, 0, 0, waitMs);
    this.heldMs += performance.now() - nowMs;
  }
}
