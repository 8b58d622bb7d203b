import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import { fromSentError, isError, UmlsnapError } from '../errors.js';
import { type Guest, withGuest } from '../guest/guest.js';
import { findGuestProcesses, type GuestProcesses } from '../guest/guest-processes.js';
import { probeStopped } from '../guest/stop-probe.js';
import { guestLocks } from '../job/guest-locks.js';
import { type JobHistory, type JobRun, recordedJob } from '../job/recorded-job.js';
import { type LeaseHistory, settleOwnLease } from '../job/recover-at-start.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { CaptureProcess } from '../pause/capture-process.js';
import { GuardedPause, type PauseLedger } from '../pause/guarded-pause.js';
import { type GuardedGuest, type Guardian, withGuardian } from '../pause/guardian.js';
import { leaseFile } from '../pause/lease.js';
import { type RoundTrips, wantedRoundTrips } from './check-stop-and-go.js';
import { withOpenDisks } from './open-disks.js';

export interface RoundTripDeps {
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
  deps: RoundTripDeps,
  signal: AbortSignal,
): Promise<RoundTrips> {
  const locks = await guestLocks('doctor', config, [deps.storePath], deps.stateDirectory);
  const pausedMs: number[] = [];
  try {
    const intent = { kind: 'doctor', guest: config.name, trigger: 'manual' } as const;
    const { error } = await withLocks({ ...locks, wait: false, signal }, () =>
      recordedJob(deps.history, intent, (run) => stopAndGo(config, deps, run, pausedMs, signal)),
    );
    return { tried: true, pausedMs, error };
  } catch (error) {
    if (!isError(error, 'Busy')) throw error;
    return { tried: false, why: explainError(error) };
  }
}

async function stopAndGo(
  config: GuestConfig,
  { stateDirectory, history }: RoundTripDeps,
  run: JobRun,
  pausedMs: number[],
  signal: AbortSignal,
): Promise<void> {
  run.facts.pausesMs = pausedMs;
  const budgetMs = Math.max(leastBudgetMs, config.pauseBudgetMs);
  await settleOwnLease(stateDirectory, config.name, history);
  await withGuest(config, async (guest) => {
    const processes = await runningProcesses(config);
    const guarded = {
      ...{ guest: config.name, socketPath: guest.socketPath, main: processes.main },
      leaseFile: leaseFile(stateDirectory, config.name),
    };
    // It has no disk to capture.
    const capture = await CaptureProcess.arm({
      ...{ guest: config.name, disks: [], method: 'copy', tracing: null, bytesPerSecond: null },
      ...{ pauseTargetMs: 0, budgetMs, signal },
    });
    try {
      await withGuardian(guarded, capture.page, async (guardian) => {
        for (let number = 1; number <= wantedRoundTrips; number++) {
          const trip = {
            run,
            number,
            config,
            guest,
            processes,
            guarded,
            guardian,
            capture,
            budgetMs,
            history,
            signal,
          };
          pausedMs.push(await roundTrip(trip));
        }
      });
    } finally {
      await capture.dispose();
    }
  });
}

/** @throws GuestProcessNotFound, GuestAlreadyStopped, DiskUnusable */
async function runningProcesses(config: GuestConfig): Promise<GuestProcesses> {
  const guest = config.name;
  const processes = await withOpenDisks(config, async (disks) =>
    findGuestProcesses(await Promise.all(disks.map(({ image }) => image.handle.stat()))),
  );
  if (!processes)
    throw new UmlsnapError('GuestProcessNotFound', { guest, diskPath: config.disks[0]?.path ?? '' });
  if (probeStopped(processes.main) === 'stopped') throw new UmlsnapError('GuestAlreadyStopped', { guest });
  return processes;
}

interface Trip {
  run: JobRun;
  number: number;
  config: GuestConfig;
  guest: Guest;
  processes: GuestProcesses;
  guarded: GuardedGuest;
  guardian: Guardian;
  capture: CaptureProcess;
  budgetMs: number;
  history: PauseLedger;
  signal: AbortSignal;
}

/** One stop and one go, and the proof that the console still answers. @returns how long the guest stood still */
async function roundTrip(trip: Trip): Promise<number> {
  const { run, number, config, guest, processes, guarded, guardian, capture, budgetMs, history, signal } =
    trip;
  run.phase = 'stop';
  const pause = await GuardedPause.open({
    ...{ pause: `${run.job}.${number}`, job: run.job, guarded, guardian, pauser: capture },
    ...{ budgetMs, ledger: history, signal, readyLimitMs: budgetMs },
  });
  try {
    await guest.checkSocket();
    const { main, ioTasks } = processes;
    await pause.run({
      ...{ socketPath: guest.socketPath, main, ioTasks, roundsLimitMs: 0, huntMs: null },
      ...{ isLastTry: true, isContentWithCrash: true },
      terms: {
        ...{ guest: config.name, devices: config.disks.map(({ device }) => device), budgetMs },
        ...{ isSmp: false, isFrozen: false, goesByFreeze: false },
        synced: { dirtyKib: 0, inFlight: 0, completedWrites: 0, diskWrites: [] },
      },
    });
  } catch (error) {
    pause.fail(error);
  }
  const result = await pause.settle();
  if (result?.error) throw fromSentError(result.error);
  run.phase = 'go';
  await guest.version(aliveAnswerMs);
  return result?.pausedMs ?? 0;
}
