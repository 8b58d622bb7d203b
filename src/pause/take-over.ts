import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, isHeld, type ProcessIdentity } from '../process-identity.js';
import type { GuestResumer, PauseResult } from './guest-resumer.js';
import type { PausePage } from './pause-page.js';

export interface PauseToEnd {
  page: PausePage;
  /** The capture process, which has sent `stop` or may do so. */
  pauser: ProcessIdentity;
  resumer: GuestResumer;
  /** From when on a stop whose answer does not come may be proven done by other means. */
  proveStopAfterMs: number;
}

/** `notPaused`: it had sent no `stop`; `byPauser`: it has ended the pause itself. */
export type TakenOver = Omit<PauseResult, 'over'> & {
  over: PauseResult['over'] | 'notPaused' | 'byPauser';
  /** The answer to `stop` was seen in time. */
  wasStopped: boolean;
};

/** A process that was killed runs no line of its own after this time, whatever of it the kernel still holds. */
const deathLimitMs = 250;

/**
 * Ends what the capture process has begun and does not end itself. It MUST NOT send a `stop` after this has read how far it is: so one
 * that may do so is killed first. One that waits for the answer to its `stop` stays: nobody else would hear it.
 */
export async function takeOver(pause: PauseToEnd): Promise<TakenOver> {
  const { page, pauser, resumer, proveStopAfterMs } = pause;
  if (page.read().stage === 'guarded') await end(pauser);
  const { stage } = page.read();
  if (stage === 'guarded') {
    page.enter('over');
    return { over: 'notPaused', pausedMs: null, wasStopped: false };
  }
  if (stage === 'over') return { over: 'byPauser', pausedMs: null, wasStopped: page.read().stoppedAtMs > 0 };
  page.enter('takenOver');
  // Its capture is void from here on. It may hang in a system call: the guest does not wait for its end.
  if (stage === 'stopped') kill(pauser);
  const result = await resumer.resume({
    stoppedAtMs: () => page.read().stoppedAtMs || null,
    mayProve: (waitedMs) => {
      if (isHeld(pauser)) kill(pauser);
      return !isAlive(pauser) || waitedMs >= proveStopAfterMs;
    },
  });
  page.enter('over');
  return { ...result, wasStopped: stage === 'stopped' };
}

/** Kills it, and waits until it runs no more. */
export async function end(pauser: ProcessIdentity): Promise<void> {
  kill(pauser);
  const deadlineMs = performance.now() + deathLimitMs;
  while (isAlive(pauser) && performance.now() < deadlineMs) await sleep(1);
}

function kill(pauser: ProcessIdentity): void {
  if (!isAlive(pauser)) return;
  try {
    process.kill(pauser.pid, 'SIGKILL');
  } catch {
    // It has ended between the two.
  }
}
