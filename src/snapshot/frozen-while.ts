import type { GuestConfig } from '../config/config.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import type { Consistency } from '../history/records.js';
import { type Freeze, withFreeze } from '../pause/with-freeze.js';
import type { PausedResult } from './capture-paused.js';
import { type Freezing, timerMsOf } from './freezing.js';
import { readyLimitMs } from './get-ready-to-stop.js';

/** A pause that has ended as it should. */
export interface Tried {
  value: PausedResult;
  pausedMs: number;
}

/** A pause that has ended, without a capture for the tracking of its disks was lost. */
export interface Lost {
  lost: unknown;
}

export interface FreezableJob {
  job: string;
  config: GuestConfig;
  guest: Guest;
  processes: GuestProcesses;
  freezing: Freezing;
  /** File of the guest's freeze lease. */
  freezeLease: string;
  signal: AbortSignal;
}

/**
 * Runs one try, which begins the freeze right before its stop if there is an agent to do it, and ends it right after its
 * `go`. What it captured is `frozen` only if the freeze held until then, which the thaw tells.
 * @throws NotFrozen
 */
export async function frozenWhile(
  armed: FreezableJob,
  tryOnce: (freeze: Freeze | null) => Promise<Tried | Lost>,
): Promise<(Tried & { consistency: Consistency }) | Lost> {
  const { freezing, guest, job, processes, config, signal } = armed;
  const { agent } = freezing;
  if (!agent) {
    const tried = await tryOnce(null);
    return 'lost' in tried ? tried : { ...tried, consistency: tried.value.consistency };
  }
  const request = {
    ...{ guest, job, main: processes.main, ...agent, leaseFile: armed.freezeLease, signal },
    ...{ limitMs: config.freezeTimeoutMs, timerMs: timerMsOf(config.pauseBudgetMs) },
    beginsWithinMs: readyLimitMs(config),
  };
  return await withFreeze(request, async (freeze) => {
    const tried = await tryOnce(freeze);
    // It has ended with the pause: this only tells how.
    const end = await freeze.end();
    const held = end.ended === 'held';
    // The next try's freeze would find the agent at work on them.
    await freezing.hearThawHooks(freeze);
    if ('lost' in tried) return tried;
    const { consistency, captured, isCleanFrozen } = tried.value;
    // Refused before the stop: that was told then.
    if (!freezing.agent) return { ...tried, consistency };
    if (held) return { ...tried, consistency: isCleanFrozen ? 'frozen' : consistency };
    // Nothing came of it, and an agent that was slow may be there for the next try.
    if (!captured && end.ended === 'byKernel') await freezing.askAgain(signal);
    else freezing.endedEarly(end);
    return { ...tried, consistency };
  });
}
