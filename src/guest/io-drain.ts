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

/** The helper may need the CPU that we are on, and a guest stands still meanwhile. */
const lookEveryMs = 0.1;
const nobodysBell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Waits until the guest's I/O helper has written all that the guest had queued before it was stopped. `stopped` does
 * not mean quiet: late writes came up to 132 ms after it (uml-facts, fact 2). Drained means that the helper sleeps in
 * something that is no write to a file, and that its counters stand still between two looks: a counter alone grows
 * only when a write has completed, so it can't tell of one in flight. Blocking: a part of the pause.
 * @param deadlineMs on the monotonic clock (`performance.now()`)
 * @param first a look at the stopped guest, some time ago
 * @returns false when it was not drained by then
 */
export function drain(view: IoView, deadlineMs: number, first: IoLook): boolean {
  for (let before = first; ; ) {
    const now = view.look();
    if (before.blocked && now.blocked && before.written === now.written) return true;
    if (performance.now() >= deadlineMs) return false;
    before = now;
    Atomics.wait(nobodysBell, 0, 0, lookEveryMs);
  }
}

/** Whether the I/O helper of a guest that runs has nothing to do: stopped in such a moment, it has next to nothing queued. */
export function isIdle(view: IoView): boolean {
  // Two looks right after each other: between two requests of many it sleeps for a moment as well.
  const before = view.look();
  const now = view.look();
  return before.blocked && now.blocked && before.written === now.written;
}

/**
 * What the helpers have written so far, undefined while one of them writes: equal before and after a capture, or something
 * wrote during it.
 */
export function writtenBy(view: IoView): string | undefined {
  const { blocked, written } = view.look();
  return blocked ? written : undefined;
}
