import type { ArmedCapture } from '../capture/capture.js';
import type { GuestConfig } from '../config/config.js';
import { UmlsnapError } from '../errors.js';
import type { Guest } from '../guest/guest.js';
import type { HostView } from '../guest/host-view.js';
import { waitUntilIdle } from '../guest/io-drain.js';
import { syncGuest } from '../guest/sync-guest.js';
import type { SourceDisk } from './source-disks.js';

export interface RunningGuest {
  config: GuestConfig;
  guest: Guest;
  view: HostView;
  disks: SourceDisk[];
  capture: ArmedCapture;
  signal: AbortSignal;
}

const maxRounds = 5;
/** What a busy host may need to write a guest's disks; nothing ends then, but others may wonder. */
const hostSyncLimitMs = 30_000;
/** A guest that outruns a capture for so long is not caught up with. */
const catchUpLimitMs = 60_000;
/** A guest that writes without a gap for so long is stopped as it is; its last writes are then waited for in the pause. */
const idleLimitMs = 500;

/** A frozen guest's applications wait: what can't be caught up with by then is for the pause, where no rate limits the copy. */
const frozenRoundsLimitMs = 5000;

/** The longest that `getReadyToStop` takes, once more after a freeze that was refused. */
export function readyLimitMs({ settleTimeoutMs, freezeTimeoutMs, agent }: GuestConfig): number {
  const roundMs = settleTimeoutMs + hostSyncLimitMs + catchUpLimitMs;
  const readyMs = maxRounds * roundMs + idleLimitMs + catchUpLimitMs;
  return agent === 'off' ? readyMs : 2 * readyMs + freezeTimeoutMs;
}

/** After the last catching up, which must not get old. */
const lastIdleLimitMs = 3;

/**
 * The last that is done before a `stop`. In this order: the guest writes what it holds, the host writes what the guest wrote,
 * the capture takes up what was written meanwhile, and its I/O helper is idle. While one of them works, what those before it
 * did gets old: hence the rounds, and the capture MUST be the last to catch up with a guest that goes on writing.
 * @returns figures for the record
 * @throws SysrqDisabled, what a guest that answers nothing throws, what `catchUp` throws, or the signal's reason
 */
export async function getReadyToStop(running: RunningGuest): Promise<Record<string, unknown>> {
  const { isClean, ...settled } = await syncAll(running);
  const { view, signal } = running;
  const idleFromMs = performance.now();
  let idle = await waitUntilIdle(view, idleFromMs + idleLimitMs, signal);
  const idleAfterMs = Math.round(performance.now() - idleFromMs);
  if (!isClean || idleAfterMs > lastIdleLimitMs) {
    await catchUp(running);
    idle = await waitUntilIdle(view, performance.now() + lastIdleLimitMs, signal);
  }
  return { ...settled, idle, idleAfterMs };
}

/**
 * The last before the `stop` of a guest that was made ready and has been frozen since: takes up what its hooks and the freeze
 * itself made it write. It writes no more, and so this comes to an end soon.
 * @throws what `catchUp` throws, or the signal's reason
 */
export async function catchUpWithFrozen(running: RunningGuest): Promise<void> {
  await syncOnHost(running.disks);
  await catchUp(running, frozenRoundsLimitMs);
}

/**
 * The guest has nothing to write, and the host has written what the guest wrote: a reflink flushes what is left of it, and
 * two milliseconds of pause are one such flush. While the host flushes, the guest may have written again.
 */
async function syncAll(running: RunningGuest) {
  const { guest, config, disks, signal } = running;
  for (let rounds = 1; ; rounds++) {
    const { settled, dirty } = await syncGuest(guest, config.settleTimeoutMs, signal);
    await syncOnHost(disks);
    await catchUp(running);
    const now = await guest.dirtyState();
    const isClean = now.dirtyKib === 0 && now.completedWrites === dirty.completedWrites;
    if (isClean || !settled || rounds === maxRounds) {
      return { isClean, settled, rounds, dirtyKib: now.dirtyKib };
    }
  }
}

/** The guest's own fsync never reaches the host (uml-facts, fact 3). */
export async function syncOnHost(disks: SourceDisk[]): Promise<void> {
  await Promise.all(disks.map((disk) => disk.image.handle.datasync()));
}

async function catchUp(
  { guest, config, capture, signal }: RunningGuest,
  roundsLimitMs?: number,
): Promise<void> {
  const limit = new AbortController();
  const device = config.disks.map((disk) => disk.device).join(', ');
  const problem = `catching up with what the guest writes took over ${catchUpLimitMs / 1000} s`;
  const tooLate = new UmlsnapError('CaptureFailed', { guest: guest.name, device, problem });
  const timer = setTimeout(() => limit.abort(tooLate), catchUpLimitMs);
  await capture
    .catchUp(AbortSignal.any([signal, limit.signal]), roundsLimitMs)
    .finally(() => clearTimeout(timer));
}
