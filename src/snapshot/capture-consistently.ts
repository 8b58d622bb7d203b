import type { ArmedCapture, CapturedDisk } from '../capture/capture.js';
import type { GuestConfig } from '../config/config.js';
import { isError, UmlsnapError } from '../errors.js';
import type { DirtyState, Readiness } from '../guest/dirty-state.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import type { HostView } from '../guest/host-view.js';
import { waitUntilDrained } from '../guest/io-drain.js';
import { syncGuest } from '../guest/sync-guest.js';
import type { Consistency } from '../history/records.js';
import type { GuardedGuest, Guardian } from '../pause/guardian.js';
import type { Freeze } from '../pause/with-freeze.js';
import { withPausedGuest } from '../pause/with-paused-guest.js';
import { isAlive } from '../process-identity.js';
import { captureWhilePaused, type PausedResult } from './capture-paused.js';
import type { Freezing } from './freezing.js';
import { frozenWhile, type Lost, type Tried } from './frozen-while.js';
import {
  catchUpWithFrozen,
  getReadyToStop,
  huntLimitMs,
  readyLimitMs,
  syncOnHost,
} from './get-ready-to-stop.js';
import type { PhaseJournal } from './phase-journal.js';
import type { SnapshotHistory } from './ports.js';
import type { SourceDisk } from './source-disks.js';

/** Everything that is armed and open when the pause comes near. */
export interface ArmedJob {
  job: string;
  config: GuestConfig;
  guest: Guest;
  processes: GuestProcesses;
  view: HostView;
  isSmp: boolean;
  disks: SourceDisk[];
  capture: ArmedCapture;
  guarded: GuardedGuest;
  guardian: Guardian;
  freezing: Freezing;
  /** Of the guest. */
  freezeLease: string;
  history: SnapshotHistory;
  journal: PhaseJournal;
  signal: AbortSignal;
}

export interface Captured {
  takenAt: Date;
  dirty: DirtyState;
  consistency: Consistency;
  /** Devices that were written from the first sync to the stop. */
  written: string[];
  /** By device. */
  disks: Map<string, CapturedDisk>;
  /** Of the pause that captured. */
  pausedMs: number;
  tries: number;
}

/** A try, and whether there can be another one. */
interface Hunt {
  /** After the first sync. */
  synced: DirtyState;
  /** From 1; a pause whose tracking was lost is none. */
  tries: number;
  /** On the monotonic clock: from then on the guest is taken as it is. */
  untilMs: number;
  isLastTry: boolean;
  /** A freeze has held, and the disks were written all the same, as by a guest's swap: from then on the freeze alone is the proof. */
  goesByFreeze: boolean;
}

/**
 * Phases sync to go, until the guest was clean at the stop. It is stopped when a look right before finds it clean. A try that
 * finds it dirty all the same lets it go at once, for a pause of under a millisecond; when tries or time are used up, what
 * there is is captured, if the config is content with that.
 * @throws ConsistencyTooWeak, NotFrozen, and everything that a pause or a capture throws
 */
export async function captureConsistently(armed: ArmedJob): Promise<Captured> {
  const { config, guest, view, disks, freezing, journal, signal } = armed;
  const hasAgent = freezing.agent !== null;
  await journal.enter('sync');
  await freezing.askAgain(signal);
  // The bulk now, with nothing of ours waiting for it.
  const { dirty: synced } = await syncGuest(guest, config.settleTimeoutMs, signal);
  await syncOnHost(disks);
  // Code takes milliseconds when it runs for the first time, and the pause is no place for that.
  await waitUntilDrained(view, performance.now() + 50, signal);
  view.stopSign();
  const untilMs = performance.now() + huntLimitMs(config);
  const hunt: Hunt = { synced, tries: 1, untilMs, isLastTry: false, goesByFreeze: false };
  let hasLostTracking = false;
  for (let pauses = 1; ; pauses++) {
    hunt.isLastTry = hunt.tries >= config.syncTries;
    const outcome = await frozenWhile(armed, (freeze) =>
      tryOnce(armed, pauses, hunt, freeze).catch((error) => lostTracking(armed, error)),
    );
    if ('lost' in outcome) {
      // Once: it compares from here on. How clean the guest was has nothing to do with it, so no try is used up.
      if (hasLostTracking) throw outcome.lost;
      hasLostTracking = true;
      await journal.finish('failed');
      await proveAlive(guest);
      continue;
    }
    const { value, pausedMs, consistency } = outcome;
    const { tries } = hunt;
    await journal.finish('done');
    // What went by a freeze that has not held is what it would have been without.
    const isTooWeak = consistency === 'crash' && config.require !== 'crash';
    if (value.captured && !isTooWeak) return { ...value, consistency, pausedMs, tries };
    if (value.captured || hunt.isLastTry) throw tooWeak(config, value, { tries, hasAgent });
    hunt.goesByFreeze = consistency === 'frozen';
    hunt.tries += 1;
  }
}

function tooWeak(
  { name, require }: GuestConfig,
  { consistency, dirty, written }: PausedResult,
  more: { tries: number; hasAgent: boolean },
) {
  const facts = { required: require, reached: consistency, dirtyKib: dirty.dirtyKib, written };
  return new UmlsnapError('ConsistencyTooWeak', { guest: name, ...facts, ...more });
}

async function tryOnce(
  armed: ArmedJob,
  pauseNumber: number,
  hunt: Hunt,
  freeze: Freeze | null,
): Promise<Tried> {
  const { job, config, guest, processes, view, isSmp, capture, guarded, guardian, history, journal, signal } =
    armed;
  if (pauseNumber > 1) await journal.enter('sync');
  journal.note({ try: pauseNumber });
  let readiness: Readiness = { type: 'busy' };
  let isFrozen = false;
  try {
    const result = await withPausedGuest(
      {
        pause: `${job}.${pauseNumber}`,
        job,
        guarded,
        guardian,
        budgetMs: config.pauseBudgetMs,
        ledger: history,
        signal,
        phase: () => journal.phase,
        readyLimitMs: readyLimitMs(config),
        getReady: async () => {
          await guest.checkSocket();
          isFrozen = freeze !== null && (await beginFreeze(armed, freeze));
          readiness = isFrozen ? await catchUpWithFrozen(armed) : await getReady(armed, hunt);
          journal.enterPaused('stop');
        },
        released: async (pausedMs) => {
          // A failure belongs to the phase that it came from.
          if (pausedMs !== null) journal.note({ pausedMs });
          if (!freeze) return;
          if (pausedMs !== null) journal.enterPaused('thaw');
          await armed.freezing.end(freeze, journal);
        },
      },
      (paused) =>
        captureWhilePaused(paused, {
          ...{ guest, processes, view, capture, journal, isSmp, readiness, isFrozen, synced: hunt.synced },
          acceptsDirty: hunt.isLastTry && config.require === 'crash',
          goesByFreeze: hunt.isLastTry || hunt.goesByFreeze,
        }),
    );
    await proveAlive(guest);
    return result;
  } catch (error) {
    throw withLeftovers(error, processes);
  }
}

/** It MUST come last: nothing that a guest at work could be caught up with is left to it. @returns whether the guest is frozen */
async function beginFreeze(armed: ArmedJob, freeze: Freeze): Promise<boolean> {
  const { freezing, journal } = armed;
  // A freeze makes clean whatever it finds: no moment has to be looked for.
  journal.note((await getReadyToStop(armed, performance.now())).figures);
  // Nothing is written from here on: a history that is locked would make what was done above old.
  journal.enterPaused('freeze');
  if (await freezing.begin(freeze, journal)) return true;
  // It runs on, and its hooks may have made it write.
  journal.enterPaused('sync');
  return false;
}

async function getReady(armed: ArmedJob, hunt: Hunt): Promise<Readiness> {
  const { readiness, figures } = await getReadyToStop(armed, hunt.untilMs);
  armed.journal.note(figures);
  if (readiness.type === 'busy') hunt.isLastTry = true;
  return readiness;
}

const aliveAnswerMs = 10_000;
const maxAsks = 3;

/**
 * Proof of life, weak as it is: a stopped guest would answer too, but `go` was acknowledged before. The console of a busy
 * guest may be deaf for seconds after its stop, though the guest runs (6 s and more, in 2 of 40 pauses of 2 s, by any client).
 */
async function proveAlive(guest: Guest): Promise<void> {
  for (let asks = 1; ; asks++) {
    try {
      await guest.version(aliveAnswerMs);
      return;
    } catch (error) {
      if (!isError(error, 'GuestNotAnswering') || asks === maxAsks) throw error;
    }
  }
}

/** The guest runs again, and a capture that may compare its disks can be run in another pause. Throws any other error. */
function lostTracking({ config, journal }: ArmedJob, error: unknown): Lost {
  if (!isError(error, 'TrackingLost') || config.precopyTracker === 'traced') throw error;
  journal.note({ trackingLost: error.facts.problem });
  return { lost: error };
}

/** Helpers that outlive a killed guest keep its disks locked (uml-facts, fact 12): whoever reads of it needs their pids. */
function withLeftovers(error: unknown, processes: GuestProcesses): unknown {
  if (!isError(error, 'GuestGone')) return error;
  const leftoverPids = processes.holders.filter(isAlive).map(({ pid }) => pid);
  return new UmlsnapError('GuestGone', { ...error.facts, leftoverPids }, error);
}
