import type { ArmedCapture, CapturedDisk } from '../capture/capture.js';
import type { GuestConfig } from '../config/config.js';
import { isError, UmlsnapError } from '../errors.js';
import type { DirtyState } from '../guest/dirty-state.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import { waitUntilDrained } from '../guest/io-drain.js';
import { quiesce } from '../guest/quiesce.js';
import type { GuardedGuest, Guardian } from '../pause/guardian.js';
import { withPausedGuest } from '../pause/with-paused-guest.js';
import { isAlive } from '../process-identity.js';
import { captureWhilePaused, type PausedResult, type Reached } from './capture-paused.js';
import type { PhaseJournal } from './phase-journal.js';
import type { SnapshotHistory } from './ports.js';
import type { SourceDisk } from './source-disks.js';

/** Everything that is armed and open when the pause comes near. */
export interface ArmedJob {
  job: string;
  config: GuestConfig;
  guest: Guest;
  processes: GuestProcesses;
  isSmp: boolean;
  disks: SourceDisk[];
  capture: ArmedCapture;
  guarded: GuardedGuest;
  guardian: Guardian;
  history: SnapshotHistory;
  journal: PhaseJournal;
  signal: AbortSignal;
}

export interface Captured {
  takenAt: Date;
  dirty: DirtyState;
  consistency: Reached;
  /** By device. */
  disks: Map<string, CapturedDisk>;
  /** Of the pause that captured. */
  pausedMs: number;
  tries: number;
}

/**
 * Phases quiesce to go, until the guest was clean at the stop. Each try that finds it dirty lets it go at once, for a
 * pause of under a millisecond; the last one captures what there is, if the config is content with that.
 * @throws ConsistencyTooWeak, and everything that a pause or a capture throws
 */
export async function captureConsistently(armed: ArmedJob): Promise<Captured> {
  const { config, guest, processes, disks, journal, signal } = armed;
  await journal.enter('quiesce');
  // The bulk now, with nothing of ours waiting for it.
  await quiesce(guest, config.settleTimeoutMs, signal);
  await syncOnHost(disks);
  // Code takes milliseconds when it runs for the first time, and the pause is no place for that.
  await waitUntilDrained(processes.ioTasks, performance.now() + 50, signal);
  for (let tries = 1; ; tries++) {
    const isLastTry = tries >= config.syncTries;
    const { value, pausedMs } = await tryOnce(armed, tries, isLastTry);
    await journal.finish('done');
    if (value.captured) return { ...value, pausedMs, tries };
    if (!isLastTry) continue;
    throw new UmlsnapError('ConsistencyTooWeak', {
      guest: config.name,
      required: config.require,
      reached: value.consistency,
      dirtyKib: value.dirty.dirtyKib,
      tries,
    });
  }
}

/**
 * The guest has nothing to write, and the host has written what the guest wrote: a reflink flushes what is left of it, and
 * two milliseconds of pause are one such flush. While the host flushes, the guest may have written again.
 */
async function quiesceBoth({ guest, config, disks, signal }: ArmedJob): Promise<Record<string, unknown>> {
  for (let rounds = 1; ; rounds++) {
    const { settled, dirty } = await quiesce(guest, config.settleTimeoutMs, signal);
    await syncOnHost(disks);
    const now = await guest.dirtyState();
    const isClean = now.dirtyKib === 0 && now.completedWrites === dirty.completedWrites;
    if (isClean || !settled || rounds === maxRounds) return { settled, rounds, dirtyKib: now.dirtyKib };
  }
}

const maxRounds = 5;
/** What a busy host may need to write a guest's disks; nothing ends then, but others may wonder. */
const hostSyncLimitMs = 30_000;

/** The guest's own fsync never reaches the host (uml-facts, fact 3). */
async function syncOnHost(disks: SourceDisk[]): Promise<void> {
  await Promise.all(disks.map((disk) => disk.image.handle.datasync()));
}

async function tryOnce(
  armed: ArmedJob,
  tryNumber: number,
  isLastTry: boolean,
): Promise<{ value: PausedResult; pausedMs: number }> {
  const { job, config, guest, processes, isSmp, capture, guarded, guardian, history, journal, signal } =
    armed;
  if (tryNumber > 1) await journal.enter('quiesce');
  journal.note({ try: tryNumber });
  try {
    const result = await withPausedGuest(
      {
        pause: `${job}.${tryNumber}`,
        job,
        guarded,
        guardian,
        budgetMs: config.pauseBudgetMs,
        ledger: history,
        signal,
        phase: () => journal.phase,
        quiesceLimitMs: maxRounds * (config.settleTimeoutMs + hostSyncLimitMs),
        quiesce: async () => {
          await guest.checkSocket();
          journal.note(await quiesceBoth(armed));
          journal.enterPaused('stop');
        },
      },
      (paused) =>
        captureWhilePaused(paused, {
          guest,
          processes,
          capture,
          journal,
          isSmp,
          acceptsDirty: isLastTry && config.require === 'crash',
        }),
    );
    journal.note({ pausedMs: result.pausedMs });
    // Proof of life, weak as it is: a stopped guest would answer too, but `go` was acknowledged before.
    await guest.version();
    return result;
  } catch (error) {
    throw withLeftovers(error, processes);
  }
}

/** Helpers that outlive a killed guest keep its disks locked (uml-facts, fact 12): whoever reads of it needs their pids. */
function withLeftovers(error: unknown, processes: GuestProcesses): unknown {
  if (!isError(error, 'GuestGone')) return error;
  const leftoverPids = processes.holders.filter(isAlive).map(({ pid }) => pid);
  return new UmlsnapError('GuestGone', { ...error.facts, leftoverPids }, error);
}
