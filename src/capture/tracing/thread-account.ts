import type { CallKind } from './tracked-calls.js';

export type TraceEvent =
  | { type: 'enter'; stamp: number; call: CallKind; args: readonly number[] }
  | { type: 'exit'; stamp: number; call: CallKind; result: number };

export type TakeCall = (call: CallKind, args: readonly number[], result: number) => void;

/**
 * Puts the events of one thread, which come from several CPUs' buffers, back into order, pairs each call's end with its
 * beginning, and sums up what the kernel counts as written. Pure.
 */
export class ThreadAccount {
  /** Bytes that the thread's ended calls have added to its `wchar` since the account was opened. */
  writtenBytes = 0;
  /** Its `wchar` when the account was opened; null until then. */
  #openedAtBytes: number | null = null;
  /** Whether we know what the thread does: it may have been inside a call when tracing began. */
  #isKnown = false;
  #current: (TraceEvent & { type: 'enter' }) | null = null;
  #waiting: TraceEvent[] = [];
  #isSorted = true;
  #eventCount = 0;

  /** Takes an event; of one CPU they come in order, of several in any. */
  add(event: TraceEvent): void {
    this.#eventCount += 1;
    const last = this.#waiting.at(-1);
    if (last !== undefined && last.stamp > event.stamp) this.#isSorted = false;
    this.#waiting.push(event);
  }

  /**
   * Goes through the events up to `stamp`, before which no event may be missing. A call is told when its end is there: only
   * then is what it wrote to be seen in the file.
   * @returns why the account can't be right, null when it may be
   */
  advance(stamp: number, take: TakeCall): string | null {
    if (this.#waiting.length === 0) return null;
    if (!this.#isSorted) this.#waiting.sort((a, b) => a.stamp - b.stamp);
    this.#isSorted = true;
    let done = 0;
    let problem: string | null = null;
    for (const event of this.#waiting) {
      if (event.stamp > stamp) break;
      done += 1;
      problem ??= this.#next(event, take);
    }
    this.#waiting = done === this.#waiting.length ? [] : this.#waiting.slice(done);
    return problem;
  }

  #next(event: TraceEvent, take: TakeCall): string | null {
    const current = this.#current;
    if (event.type === 'enter') {
      this.#isKnown = true;
      this.#current = event;
      return current === null ? null : `the end of a ${current.call.name} was not seen`;
    }
    if (event.call.counted && event.result > 0) this.writtenBytes += event.result;
    this.#current = null;
    if (current === null) {
      this.#isKnown = true;
      // Before the account is open, it was under way when tracing began, and has ended before anything is copied. That the
      // thread was met since then says nothing of it: the events of that time may still have been in the buffer.
      return this.isOpen ? `the beginning of a ${event.call.name} was not seen` : null;
    }
    if (current.call !== event.call) return `a ${current.call.name} ended as a ${event.call.name}`;
    take(event.call, current.args, event.result);
    return null;
  }

  /** All events that were added: an unchanged number means that the thread did nothing that is traced. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** Inside no call, and every event gone through. */
  get isIdle(): boolean {
    return this.#current === null && this.#waiting.length === 0;
  }

  get isKnown(): boolean {
    return this.#isKnown;
  }

  get isOpen(): boolean {
    return this.#openedAtBytes !== null;
  }

  /** The thread was seen in something that is no write, after tracing had begun: every call from then on has its beginning. */
  meet(): void {
    this.#isKnown = true;
  }

  /** From here on the account must come out even. Only while the thread is known and idle. */
  open(wcharBytes: number): void {
    this.#openedAtBytes = wcharBytes;
    this.writtenBytes = 0;
  }

  /** What separates the kernel's count from ours: 0 is the proof. */
  differenceBytes(wcharBytes: number): number {
    return wcharBytes - (this.#openedAtBytes ?? Number.NaN) - this.writtenBytes;
  }
}
