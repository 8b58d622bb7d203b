import type { CapturedDisks } from '../capture/capture.js';
import type { GuestConfig } from '../config/config.js';
import { fromSentError, isError, UmlsnapError } from '../errors.js';
import type { DirtyState } from '../guest/dirty-state.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import { syncGuest } from '../guest/sync-guest.js';
import type { Consistency } from '../history/records.js';
import type { PauseOrder, PauseResult } from '../pause/capture-messages.js';
import { catchUpLimitMs } from '../pause/capture-messages.js';
import type { CaptureProcess } from '../pause/capture-process.js';
import { type Freeze, openFreeze } from '../pause/freeze.js';
import { GuardedPause } from '../pause/guarded-pause.js';
import type { GuardedGuest, Guardian } from '../pause/guardian.js';
import type { Looked } from '../pause/pause.js';
import { hostClockMs } from '../pause/pause-page.js';
import { isAlive } from '../process-identity.js';
import { type Freezing, timerMsOf } from './freezing.js';
import type { PhaseJournal } from './phase-journal.js';
import type { SnapshotHistory } from './ports.js';
import { pausedFigures } from './precopy-facts.js';
import type { SourceDisk } from './source-disks.js';

/** Everything that is armed and open when the pause comes near. */
export interface ArmedJob {
  job: string;
  config: GuestConfig;
  guest: Guest;
  processes: GuestProcesses;
  isSmp: boolean;
  disks: SourceDisk[];
  capture: CaptureProcess;
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
  disks: CapturedDisks;
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
  /** A freeze has held, and the disks were written all the same, as by a guest's swap: from then on the freeze alone is the proof. */
  goesByFreeze: boolean;
}

/** What a pause has found and, if it was to be kept, taken. */
type Tried = Looked & {
  reached: Consistency;
  disks: CapturedDisks | null;
  takenAt: Date;
  pausedMs: number;
  wasLastTry: boolean;
};

/** What a busy host may need to write a guest's disks; nothing ends then, but others may wonder. */
const hostSyncLimitMs = 30_000;
/** A frozen guest's applications wait: what can't be caught up with by then is for the pause, where no rate limits the copy. */
const frozenRoundsLimitMs = 5000;
/** One that is frozen has nothing to write: it settles at once, or not at all. */
const frozenHuntMs = 500;

/** How long a moment is looked for in which the guest has nothing to write, over all tries. */
function huntLimitMs({ syncTries, settleTimeoutMs }: GuestConfig): number {
  return syncTries * settleTimeoutMs;
}

/** The longest that may pass before the stop, once more before a freeze that is refused. */
function readyLimitMs(config: GuestConfig): number {
  const readyMs = huntLimitMs(config) + config.settleTimeoutMs + hostSyncLimitMs + 2 * catchUpLimitMs;
  return config.agent === 'off' ? readyMs : 2 * readyMs + config.freezeTimeoutMs;
}

/**
 * Phases sync to thaw, until the guest was clean at the stop. It is stopped right after a look that found it clean. A try that
 * finds it dirty all the same lets it go at once, for a pause of under a millisecond; when tries or time are used up, what
 * there is is captured, if the config is content with that.
 * @throws ConsistencyTooWeak, NotFrozen, and everything that a pause or a capture throws
 */
export async function captureConsistently(armed: ArmedJob): Promise<Captured> {
  const { config, guest, disks, freezing, journal, signal } = armed;
  const hasAgent = freezing.agent !== null;
  await journal.enter('sync');
  await freezing.askAgain(signal);
  // The bulk now, with nothing of ours waiting for it.
  const { dirty: synced } = await syncGuest(guest, config.settleTimeoutMs, signal);
  await syncOnHost(disks);
  const untilMs = performance.now() + huntLimitMs(config);
  const hunt: Hunt = { synced, tries: 1, untilMs, goesByFreeze: false };
  let hasLostTracking = false;
  for (let pauses = 1; ; pauses++) {
    if (pauses > 1) await journal.enter('sync');
    journal.note({ try: pauses });
    let tried: Tried;
    try {
      tried = await tryOnce(armed, pauses, hunt);
    } catch (error) {
      // Once: it goes without from here on. How clean the guest was has nothing to do with it, so no try is used up.
      if (hasLostTracking || !mayGoOnWithoutTracking(armed, error)) throw error;
      hasLostTracking = true;
      await journal.finish('failed');
      continue;
    }
    const { dirty, written, reached, takenAt, pausedMs } = tried;
    const { tries } = hunt;
    await journal.finish('done');
    // What went by a freeze that has not held is what it would have been without.
    const isTooWeak = reached === 'crash' && config.require !== 'crash';
    if (tried.disks && !isTooWeak)
      return { takenAt, dirty, consistency: reached, written, disks: tried.disks, pausedMs, tries };
    if (tried.disks || tried.wasLastTry) {
      const facts = { required: config.require, reached: tried.consistency, dirtyKib: dirty.dirtyKib };
      throw new UmlsnapError('ConsistencyTooWeak', {
        guest: config.name,
        ...facts,
        written,
        tries,
        hasAgent,
      });
    }
    hunt.goesByFreeze = reached === 'frozen';
    hunt.tries += 1;
  }
}

/** One pause, and the freeze around it if there is an agent to do it. */
async function tryOnce(armed: ArmedJob, pauses: number, hunt: Hunt): Promise<Tried> {
  const { job, config, guest, processes, capture, guarded, guardian, freezing, history, journal, signal } =
    armed;
  const { agent } = freezing;
  const readyMs = readyLimitMs(config);
  const freeze =
    agent === null
      ? null
      : await openFreeze({
          ...{ guest, job, main: processes.main, ...agent, leaseFile: armed.freezeLease, signal },
          ...{ limitMs: config.freezeTimeoutMs, timerMs: timerMsOf(config.pauseBudgetMs) },
          beginsWithinMs: readyMs,
        });
  try {
    const pause = await GuardedPause.open({
      ...{
        pause: `${job}.${pauses}`,
        job,
        guarded,
        guardian,
        pauser: capture,
        budgetMs: config.pauseBudgetMs,
      },
      ...{ ledger: history, signal, readyLimitMs: readyMs },
    });
    try {
      await guest.checkSocket();
      const isFrozen = freeze !== null && (await beginFreeze(armed, freeze));
      await pause.run(orderOf(armed, hunt, isFrozen));
    } catch (error) {
      pause.fail(error);
    }
    recordPause(journal, pause);
    // The guest runs, or can't be known to: its filesystems come next, and only then what is written down.
    if (freeze) {
      if (pause.result) journal.enterPaused('thaw');
      await freezing.end(freeze, journal);
    }
    const result = (await pause.settle()) as PauseResult;
    await proveAlive(guest);
    if (result.error) throw fromSentError(result.error);
    const look = result.look as Looked;
    const reached = freeze ? await consistencyAfter(armed, freeze, result, look) : look.consistency;
    const { disks, takenAt, pausedMs, wasLastTry } = result;
    return { ...look, reached, disks, takenAt, pausedMs, wasLastTry };
  } catch (error) {
    throw withLeftovers(error, processes);
  } finally {
    await freeze?.close();
  }
}

/** It MUST come last: nothing that a guest at work could be caught up with is left to it. @returns whether the guest is frozen */
async function beginFreeze(armed: ArmedJob, freeze: Freeze): Promise<boolean> {
  const { config, guest, disks, capture, freezing, journal, signal } = armed;
  // A freeze makes clean whatever it finds: no moment has to be looked for.
  const { settled } = await syncGuest(guest, config.settleTimeoutMs, signal);
  await syncOnHost(disks);
  await capture.catchUp(signal);
  journal.note({ settled });
  // Nothing is written from here on: a history that is locked would make what was done above old.
  journal.enterPaused('freeze');
  if (await freezing.begin(freeze, journal)) return true;
  // It runs on, and its hooks may have made it write.
  journal.enterPaused('sync');
  return false;
}

function orderOf(
  { config, guest, processes, isSmp }: ArmedJob,
  { synced, tries, untilMs, goesByFreeze }: Hunt,
  isFrozen: boolean,
): Omit<PauseOrder, 'type'> {
  const { main, ioTasks } = processes;
  return {
    ...{ socketPath: guest.socketPath, main, ioTasks },
    roundsLimitMs: isFrozen ? frozenRoundsLimitMs : null,
    huntMs: isFrozen ? frozenHuntMs : Math.max(0, untilMs - performance.now()),
    isLastTry: tries >= config.syncTries,
    isContentWithCrash: config.require === 'crash',
    terms: {
      ...{ guest: config.name, devices: config.disks.map(({ device }) => device) },
      ...{ budgetMs: config.pauseBudgetMs, isSmp, isFrozen, synced, goesByFreeze },
    },
  };
}

/** The phases of a pause, which are known only after it. */
function recordPause(journal: PhaseJournal, pause: GuardedPause): void {
  const { result } = pause;
  if (result === null) {
    // A failure belongs to the phase that it came from.
    if (pause.wasSent) journal.enterPaused('stop');
    if (pause.wasStopped) journal.enterPaused('capture');
    return;
  }
  const { marks, look, figures, facts, pausedMs, error } = result;
  const at = (markMs: number) => performance.now() - (hostClockMs() - markMs);
  journal.note(figures);
  journal.enterPaused('stop', at(marks.stop));
  journal.enterPaused('check', at(marks.check));
  const looked = look && {
    dirtyKib: look.dirty.dirtyKib,
    inFlight: look.dirty.inFlight,
    completedWrites: look.dirty.completedWrites,
    consistency: look.consistency,
    ...(look.written.length > 0 && { written: look.written }),
  };
  if (marks.capture === null) journal.note({ ...looked });
  else {
    journal.enterPaused('capture', at(marks.capture));
    journal.note({ ...looked, ...pausedFigures(facts) });
  }
  if (error === null) journal.enterPaused('go', at(marks.go));
  journal.note({ pausedMs });
}

/** What was captured is `frozen` only if the freeze held until the thaw, which tells it. @throws NotFrozen */
async function consistencyAfter(
  { freezing, signal }: ArmedJob,
  freeze: Freeze,
  { disks }: PauseResult,
  { consistency, isCleanFrozen }: Looked,
): Promise<Consistency> {
  // It has ended with the pause: this only tells how.
  const end = await freeze.end();
  // The next try's freeze would find the agent at work on them.
  await freezing.hearThawHooks(freeze);
  // Refused before the stop: that was told then.
  if (!freezing.agent) return consistency;
  if (end.ended === 'held') return isCleanFrozen ? 'frozen' : consistency;
  // Nothing came of it, and an agent that was slow may be there for the next try.
  if (disks === null && end.ended === 'byKernel') await freezing.askAgain(signal);
  else freezing.endedEarly(end);
  return consistency;
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

/** The guest runs again, and a capture that may do without tracing can be run in another pause. */
function mayGoOnWithoutTracking({ config, capture, journal }: ArmedJob, error: unknown): boolean {
  const mayDoWithout = capture.method === 'reflink' || config.precopyTracker !== 'traced';
  if (!isError(error, 'TrackingLost') || !mayDoWithout) return false;
  journal.note({ trackingLost: error.facts.problem });
  return true;
}

/** Helpers that outlive a killed guest keep its disks locked (uml-facts, fact 12): whoever reads of it needs their pids. */
function withLeftovers(error: unknown, processes: GuestProcesses): unknown {
  if (!isError(error, 'GuestGone')) return error;
  const leftoverPids = processes.holders.filter(isAlive).map(({ pid }) => pid);
  return new UmlsnapError('GuestGone', { ...error.facts, leftoverPids }, error);
}

/** The guest's own fsync never reaches the host (uml-facts, fact 3). */
async function syncOnHost(disks: SourceDisk[]): Promise<void> {
  await Promise.all(disks.map((disk) => disk.image.handle.datasync()));
}
