import { setTimeout as sleep } from 'node:timers/promises';
import { UmlsnapError } from '../errors.js';
import { type DirtyState, isClean } from './dirty-state.js';

/** What a sync needs of a guest. */
export interface SyncableGuest {
  readonly name: string;
  /** Sends `sysrq s` and returns the text that came with its answer. */
  emergencySync(): Promise<string>;
  dirtyState(): Promise<DirtyState>;
}

export interface Settled {
  /** Its disks had been still for some looks, and nothing was dirty at the last of them. */
  settled: boolean;
  dirty: DirtyState;
}

/**
 * Makes the guest write what it holds, BEFORE it is stopped: a `sysrq s` to a stopped guest writes nothing (uml-facts,
 * fact 1). One round of it never is enough: it starts the journal's commit, and the commit leaves the blocks that it
 * has logged dirty in their places (seen on ext4: 12 KiB after a line was appended to a file; the next round writes
 * them). So it goes round and round, until a round leaves nothing dirty or the time is up.
 * @throws SysrqDisabled
 */
export async function syncGuest(
  guest: SyncableGuest,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Settled> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    await requestSync(guest);
    const { isStill, dirty } = await waitUntilStill(guest, deadlineMs, signal);
    const settled = isStill && isClean(dirty);
    if (settled || performance.now() >= deadlineMs) return { settled, dirty };
  }
}

/**
 * What `sysrq s` says. One that says nothing is asked for again: the words of a kernel whose console is busy with others may come
 * into no answer (seen with commands by hand).
 */
export async function syncWords(guest: Pick<SyncableGuest, 'emergencySync'>): Promise<string> {
  return (await guest.emergencySync()) || (await guest.emergencySync());
}

/** An empty OK, or another text, means that nothing was done (uml-facts, fact 8). */
async function requestSync(guest: SyncableGuest): Promise<void> {
  const text = await syncWords(guest);
  if (!text.includes('Emergency Sync')) {
    throw new UmlsnapError('SysrqDisabled', { guest: guest.name, setting: text.trim() || 'off' });
  }
}

const pollMs = 2;
/** Between the requests of one sync the guest's disks are quiet for a moment; so often in a row they have to be. */
const stillLooksNeeded = 3;
/** A guest that never stops writing is asked to sync again after this time. */
const roundMs = 500;

/** Until the guest's disks complete no more requests, or the round has lasted long enough. */
async function waitUntilStill(
  guest: SyncableGuest,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<{ isStill: boolean; dirty: DirtyState }> {
  const roundEndsMs = Math.min(deadlineMs, performance.now() + roundMs);
  let stillLooks = 0;
  let before = await guest.dirtyState();
  for (;;) {
    await sleep(pollMs, undefined, { signal });
    const dirty = await guest.dirtyState();
    const isQuiet = dirty.inFlight === 0 && dirty.completedWrites === before.completedWrites;
    stillLooks = isQuiet ? stillLooks + 1 : 0;
    const isStill = stillLooks >= stillLooksNeeded;
    if (isStill || performance.now() >= roundEndsMs) return { isStill, dirty };
    before = dirty;
  }
}
