import { setTimeout as sleep } from 'node:timers/promises';
import { UmlsnapError } from '../errors.js';
import type { DirtyState } from './dirty-state.js';

/** What quiescing needs of a guest. */
export interface QuiescibleGuest {
  readonly name: string;
  /** Sends `sysrq s` and returns the text that came with its answer. */
  emergencySync(): Promise<string>;
  dirtyState(): Promise<DirtyState>;
}

export interface Quiesced {
  /** Nothing was dirty at the last look. */
  settled: boolean;
  dirty: DirtyState;
}

/**
 * Makes the guest write what it holds, BEFORE it is stopped: a `sysrq s` to a stopped guest writes nothing (uml-facts,
 * fact 1). Rounds of `sysrq s` and waiting, until the guest stood still with nothing dirty, or the time is up.
 * @throws SysrqDisabled
 */
export async function quiesce(
  guest: QuiescibleGuest,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Quiesced> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    await requestSync(guest);
    const round = await settle(guest, deadlineMs, signal);
    if (round.settled || performance.now() >= deadlineMs) return round;
  }
}

/** An empty OK, or another text, means that nothing was done (uml-facts, fact 8). */
export async function requestSync(guest: QuiescibleGuest): Promise<void> {
  const text = await guest.emergencySync();
  if (!text.includes('Emergency Sync')) {
    throw new UmlsnapError('SysrqDisabled', { guest: guest.name, setting: text.trim() || 'off' });
  }
}

const pollMs = 5;
const roundMs = 500;
/** `sysrq s` only starts the commit of the journal: it shows as requests, and not as dirty pages, a moment later. */
const stillLooksNeeded = 3;

/** One round: until it is still, until the guest has written anew after it was clean, or until the round is long. */
async function settle(guest: QuiescibleGuest, deadlineMs: number, signal: AbortSignal): Promise<Quiesced> {
  const roundEndsMs = Math.min(deadlineMs, performance.now() + roundMs);
  let wasClean = false;
  let stillLooks = 0;
  let before = await guest.dirtyState();
  for (;;) {
    await sleep(pollMs, undefined, { signal });
    const dirty = await guest.dirtyState();
    const isClean = dirty.dirtyKib === 0 && dirty.inFlight === 0;
    stillLooks = isClean && dirty.completedWrites === before.completedWrites ? stillLooks + 1 : 0;
    if (stillLooks >= stillLooksNeeded) return { settled: true, dirty };
    const isDirtyAgain = wasClean && dirty.dirtyKib > 0;
    if (isDirtyAgain || performance.now() >= roundEndsMs) return { settled: false, dirty };
    wasClean ||= isClean;
    before = dirty;
  }
}
