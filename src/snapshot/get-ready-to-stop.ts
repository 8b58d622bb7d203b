import type { ArmedCapture } from '../capture/capture.js';
import type { GuestConfig } from '../config/config.js';
import { UmlsnapError } from '../errors.js';
import { type DirtyState, isClean, type Readiness } from '../guest/dirty-state.js';
import type { Guest } from '../guest/guest.js';
import type { HostView } from '../guest/host-view.js';
import { waitUntilIdle } from '../guest/io-drain.js';
import { type Settled, syncGuest } from '../guest/sync-guest.js';
import type { SourceDisk } from './source-disks.js';

export interface RunningGuest {
  config: GuestConfig;
  guest: Guest;
  view: HostView;
  disks: SourceDisk[];
  capture: ArmedCapture;
  signal: AbortSignal;
}

/** What a busy host may need to write a guest's disks; nothing ends then, but others may wonder. */
const hostSyncLimitMs = 30_000;
/** A guest that outruns a capture for so long is not caught up with. */
const catchUpLimitMs = 60_000;
/** A guest that writes without a gap for so long is stopped as it is; its last writes are then waited for in the pause. */
const idleLimitMs = 500;

/** A frozen guest's applications wait: what can't be caught up with by then is for the pause, where no rate limits the copy. */
const frozenRoundsLimitMs = 5000;
/** One that is frozen has nothing to write: it settles at once, or not at all. */
const frozenSyncLimitMs = 500;

/** How long a moment is looked for in which the guest has nothing to write, over all tries. */
export function huntLimitMs({ syncTries, settleTimeoutMs }: GuestConfig): number {
  return syncTries * settleTimeoutMs;
}

/** The longest that `getReadyToStop` takes, once more after a freeze that was refused. */
export function readyLimitMs(config: GuestConfig): number {
  const roundMs = config.settleTimeoutMs + hostSyncLimitMs + catchUpLimitMs;
  const readyMs = huntLimitMs(config) + roundMs + idleLimitMs + catchUpLimitMs;
  return config.agent === 'off' ? readyMs : 2 * readyMs + config.freezeTimeoutMs;
}

/** Of what the guest has written since the host's last sync, so much is flushed in a millisecond or so. */
const littleKib = 1024;
const fewWrites = 100;

/** After the last catching up, which must not get old. */
const lastIdleLimitMs = 3;

/**
 * The last that is done before a `stop`. In this order: the guest writes what it holds, the host writes what the guest wrote,
 * the capture takes up what was written meanwhile, and a look tells whether the guest has still nothing to write. While one of
 * them works, what those before it did gets old: hence the rounds, until a look finds the guest clean, after which `stop` MUST
 * come at once, or the time is up. Then the capture MUST be the last to catch up with a guest that goes on writing: another
 * look would only make that old.
 * @param untilMs on the monotonic clock; there is one round at least
 * @returns how the guest is, and figures for the record
 * @throws SysrqDisabled, what a guest that answers nothing throws, what `catchUp` throws, or the signal's reason
 */
export async function getReadyToStop(
  running: RunningGuest,
  untilMs: number,
): Promise<{ readiness: Readiness; figures: Record<string, unknown> }> {
  const { guest, config, view, disks, signal } = running;
  let before: DirtyState | null = null;
  let writesOnHost = 0;
  for (let rounds = 1; ; rounds++) {
    const synced = await syncGuest(guest, config.settleTimeoutMs, signal);
    const { settled, dirty } = synced;
    // A reflink flushes what the host has not written: two milliseconds of pause. But while the host writes, so does the guest.
    const hasWritten = dirty.completedWrites - writesOnHost;
    if (before === null || before.dirtyKib > littleKib || hasWritten > fewWrites) {
      await syncOnHost(disks);
      writesOnHost = dirty.completedWrites;
    }
    await catchUp(running);
    guest.getReadyToAsk();
    const now = await guest.dirtyState();
    const figures = { settled, rounds, dirtyKib: now.dirtyKib };
    const readiness = readinessOf(synced, now);
    if (readiness.type === 'clean') return { readiness, figures };
    before = now;
    if (performance.now() < untilMs) continue;
    await syncOnHost(disks);
    const idleFromMs = performance.now();
    await waitUntilIdle(view, idleFromMs + idleLimitMs, signal);
    const idleAfterMs = Math.round(performance.now() - idleFromMs);
    await catchUp(running);
    const idle = await waitUntilIdle(view, performance.now() + lastIdleLimitMs, signal);
    return { readiness, figures: { ...figures, idle, idleAfterMs } };
  }
}

/**
 * The last before the `stop` of a guest that was made ready and has been frozen since: takes up what its hooks and the freeze
 * itself made it write. It writes no more, and so this comes to an end soon. Whether the freeze holds is known only after the
 * stop: until then it MUST prove as much as it would of a guest that is not frozen.
 * @throws SysrqDisabled, what a guest that answers nothing throws, what `catchUp` throws, or the signal's reason
 */
export async function catchUpWithFrozen(running: RunningGuest): Promise<Readiness> {
  const { guest, disks, signal } = running;
  const synced = await syncGuest(guest, frozenSyncLimitMs, signal);
  await syncOnHost(disks);
  await catchUp(running, frozenRoundsLimitMs);
  guest.getReadyToAsk();
  return readinessOf(synced, await guest.dirtyState());
}

/** @param synced as the guest's disks stood still after a sync @param now at the last look before the stop */
function readinessOf({ settled, dirty: { completedWrites } }: Settled, now: DirtyState): Readiness {
  const isStill = settled && isClean(now) && now.completedWrites === completedWrites;
  return isStill ? { type: 'clean', completedWrites } : { type: 'busy' };
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
