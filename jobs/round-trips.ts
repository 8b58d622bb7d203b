import type { GuestConfig } from '../src/config/config.js';
import { type RoundTrips, wantedRoundTrips } from '../src/doctor/check-stop-and-go.js';
import { withOpenDisks } from '../src/doctor/open-disks.js';
import { explainError } from '../src/error-text.js';
import { isError, UmlsnapError } from '../src/errors.js';
import { type Guest, withGuest } from '../src/guest/guest.js';
import { findGuestProcesses } from '../src/guest/guest-processes.js';
import { probeStopped } from '../src/guest/stop-probe.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import { type GuardedGuest, type Guardian, withGuardian } from '../src/pause/guardian.js';
import { leaseFile } from '../src/pause/lease.js';
import { type PauseLedger, withPausedGuest } from '../src/pause/with-paused-guest.js';
import type { ProcessIdentity } from '../src/process-identity.js';
import { guestLocks } from './guest-locks.js';
import { type JobHistory, type JobRun, recordedJob } from './recorded-job.js';
import { type LeaseHistory, settleOwnLease } from './recover-at-start.js';

export interface RoundTripHouse {
  stateDirectory: string;
  /** Of the store that the guest is captured into: whoever backs it up holds a lock on its part of it. */
  storePath: string;
  history: JobHistory & LeaseHistory & PauseLedger;
}

/** Nothing is done in the pause: what takes longer, and longer than its backups may, is a guest that does not answer. */
const leastBudgetMs = 1000;
const aliveAnswerMs = 30_000;

/**
 * Stops and resumes a guest twice, for a millisecond each time, as a backup does: under its locks, by a guardian, with a lease
 * and a row in the history before each `stop`. A job like any other, of the kind `doctor`.
 */
export async function tryRoundTrips(
  config: GuestConfig,
  house: RoundTripHouse,
  signal: AbortSignal,
): Promise<RoundTrips> {
  const locks = await guestLocks('doctor', config, [house.storePath], house.stateDirectory);
  const pausedMs: number[] = [];
  try {
    const intent = { kind: 'doctor', guest: config.name, trigger: 'manual' } as const;
    const { error } = await withLocks({ ...locks, wait: false, signal }, () =>
      recordedJob(house.history, intent, (run) => stopAndGo(config, house, run, pausedMs, signal)),
    );
    return { tried: true, pausedMs, error };
  } catch (error) {
    if (!isError(error, 'Busy')) throw error;
    return { tried: false, why: explainError(error) };
  }
}

async function stopAndGo(
  config: GuestConfig,
  { stateDirectory, history }: RoundTripHouse,
  run: JobRun,
  pausedMs: number[],
  signal: AbortSignal,
): Promise<void> {
  run.facts.pausesMs = pausedMs;
  const budgetMs = Math.max(leastBudgetMs, config.pauseBudgetMs);
  await settleOwnLease(stateDirectory, config.name, history);
  await withGuest(config, async (guest) => {
    const main = await runningMain(config);
    const guarded = {
      ...{ guest: config.name, socketPath: guest.socketPath, main },
      leaseFile: leaseFile(stateDirectory, config.name),
    };
    await withGuardian(guarded, async (guardian) => {
      for (let number = 1; number <= wantedRoundTrips; number++) {
        const trip = { run, number, guest, guarded, guardian, budgetMs, history, signal };
        pausedMs.push(await roundTrip(trip));
      }
    });
  });
}

/** @throws GuestProcessNotFound, GuestAlreadyStopped, DiskUnusable */
async function runningMain(config: GuestConfig): Promise<ProcessIdentity> {
  const guest = config.name;
  const processes = await withOpenDisks(config, async (disks) =>
    findGuestProcesses(await Promise.all(disks.map(({ image }) => image.handle.stat()))),
  );
  if (!processes)
    throw new UmlsnapError('GuestProcessNotFound', { guest, diskPath: config.disks[0]?.path ?? '' });
  if (probeStopped(processes.main) === 'stopped') throw new UmlsnapError('GuestAlreadyStopped', { guest });
  return processes.main;
}

interface Trip {
  run: JobRun;
  number: number;
  guest: Guest;
  guarded: GuardedGuest;
  guardian: Guardian;
  budgetMs: number;
  history: PauseLedger;
  signal: AbortSignal;
}

/** One stop and one go, and the proof that the console still answers. @returns how long the guest stood still */
async function roundTrip(trip: Trip): Promise<number> {
  const { run, number, guest, guarded, guardian, budgetMs, history, signal } = trip;
  run.phase = 'stop';
  const { pausedMs } = await withPausedGuest(
    {
      ...{
        pause: `${run.job}.${number}`,
        job: run.job,
        guarded,
        guardian,
        budgetMs,
        ledger: history,
        signal,
      },
      ...{ phase: () => run.phase, readyLimitMs: budgetMs, getReady: () => guest.checkSocket() },
    },
    async () => undefined,
  );
  run.phase = 'go';
  await guest.version(aliveAnswerMs);
  return pausedMs;
}
