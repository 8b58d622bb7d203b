import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** What the guest's I/O helpers do at one moment. */
export interface IoLook {
  /** Each of them sleeps in something that is no write to a file. */
  blocked: boolean;
  /** Their counters: they stand still while nothing is written. */
  written: string;
}

/** Who writes a guest's disks, and how far they are. */
export interface IoView {
  look(): IoLook;
}

/**
 * A guest stands still meanwhile. A turn of the event loop alone would be a busy wait, on the CPU that the helper needs; a timer's
 * least is a millisecond.
 */
const closeLookEveryMs = 0.1;
const closeLooksMs = 5;
const nobodysBell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Waits until the guest's I/O helper has written all that the guest had queued before it was stopped. `stopped` does
 * not mean quiet: late writes came up to 132 ms after it (uml-facts, fact 2). Drained means that the helper sleeps in
 * something that is no write to a file, and that its counters stand still between two looks: a counter alone grows
 * only when a write has completed, so it can't tell of one in flight.
 * @param deadlineMs on the monotonic clock (`performance.now()`)
 * @returns false when it was not drained by then
 */
export async function waitUntilDrained(
  view: IoView,
  deadlineMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const startedMs = performance.now();
  let before = view.look();
  for (;;) {
    if (performance.now() - startedMs < closeLooksMs) {
      Atomics.wait(nobodysBell, 0, 0, closeLookEveryMs);
      await nextTurn();
    } else await sleep(1);
    signal?.throwIfAborted();
    const now = view.look();
    if (before.blocked && now.blocked && before.written === now.written) return true;
    if (performance.now() >= deadlineMs) return false;
    before = now;
  }
}

/**
 * Waits for a moment in which the I/O helper of a guest that runs has nothing to do. Stopped in such a moment, it has next to
 * nothing queued: `waitUntilDrained` is then short also for a guest that writes at full speed.
 * @param deadlineMs on the monotonic clock
 * @returns false when there was no such moment by then
 */
export async function waitUntilIdle(view: IoView, deadlineMs: number, signal: AbortSignal): Promise<boolean> {
  for (;;) {
    // Two looks right after each other: between two requests of many it sleeps for a moment as well.
    const before = view.look();
    await nextTurn();
    const now = view.look();
    signal.throwIfAborted();
    if (before.blocked && now.blocked && before.written === now.written) return true;
    if (performance.now() >= deadlineMs) return false;
    await sleep(1);
  }
}

/**
 * What the helpers have written so far, undefined while one of them writes: equal before and after a capture, or something
 * wrote during it.
 */
export function writtenBy(view: IoView): string | undefined {
  const { blocked, written } = view.look();
  return blocked ? written : undefined;
}
