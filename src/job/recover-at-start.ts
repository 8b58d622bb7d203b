import { removeStaleInstances } from '../capture/tracing/trace-instance.js';
import { explainError, reasonOf } from '../error-text.js';
import { isError, problemOf, UmlsnapError } from '../errors.js';
import {
  type JobEnd,
  type JobRecord,
  type PauseEnd,
  type PauseRecord,
  unknownPhase,
} from '../history/records.js';
import { dropLease, endLease } from '../pause/lease.js';
import { type RecoveredFreeze, recoverFreezes } from '../pause/recover-freezes.js';
import { type RecoveredPause, recoverPauses } from '../pause/recover-pauses.js';
import { bootId, isAlive } from '../process-identity.js';
import type { JobHistory } from './recorded-job.js';

export interface LeaseHistory {
  openPauses(): Promise<PauseRecord[]>;
  endPause(pause: string, end: PauseEnd): Promise<void>;
}

export interface StartHistory extends LeaseHistory, Pick<JobHistory, 'finishJob'> {
  runningJobs(): Promise<JobRecord[]>;
}

/** What `recover` found and did. */
export interface Recovered {
  resumed: string[];
  /** Guests whose filesystems a dead process of ours had left frozen, or was about to freeze. */
  thawed: string[];
  closedJobs: string[];
  discarded: string[];
  /** Private copies of disks that a verification or a drill had made, and sockets. */
  scratch: string[];
  indexed: string[];
  forgotten: string[];
  /** Trace instances of the kernel that dead jobs had made. */
  traceInstances: string[];
  /** Pauses that could not be ended: guests that may be paused. */
  mayBePaused: { guest: string; problem: string }[];
  /** What could not be looked at or put right, and why. */
  problems: string[];
}

/**
 * What every start does once the guests run (`recoverPauses`, which needs no history and MUST come before it is opened):
 * writes down how their pauses ended, closes the jobs of dead processes, and ends their tracing.
 * @throws HistoryUnusable, HistoryLocked
 */
export async function recoverAtStart(history: StartHistory, pauses: RecoveredPause[]): Promise<Recovered> {
  const recovered = nothingYet();
  for (const found of pauses) await settleLease(found, history, recovered);
  await closeDeadJobs(history, recovered);
  await endDeadTracing(recovered);
  return recovered;
}

/** What is left of it costs every write of the guest some time, and harms nothing else. */
async function endDeadTracing(recovered: Recovered): Promise<void> {
  try {
    recovered.traceInstances.push(...(await removeStaleInstances()));
  } catch (error) {
    recovered.problems.push(`the tracing of a job that died could not be ended: ${problemOf(error)}`);
  }
}

/**
 * The same where the history can't be used: leases stay, with how their pause ended, until there is a history that can be
 * told.
 */
export async function recoverWithoutHistory(pauses: RecoveredPause[]): Promise<Recovered> {
  const recovered = nothingYet();
  await endDeadTracing(recovered);
  for (const found of pauses) {
    if (found.found === 'mayBePaused') recovered.mayBePaused.push(stuckGuest(found));
    if (found.found !== 'over' || found.lease.ended) continue;
    if (found.resumedByUs) recovered.resumed.push(found.lease.guest);
    try {
      endLease(found.file, found.lease.pause, found.end);
    } catch (error) {
      // The guest runs, which is what counts; the next `recover` asks it again.
      recovered.problems.push(`${found.file} could not be brought up to date: ${reasonOf(error)}`);
    }
  }
  return recovered;
}

function nothingYet(): Recovered {
  return {
    ...{ resumed: [], thawed: [], closedJobs: [], discarded: [], scratch: [], indexed: [], forgotten: [] },
    ...{ traceInstances: [], mayBePaused: [], problems: [] },
  };
}

const stuckGuest = ({ guest, problem }: { guest: string; problem: string }) => ({ guest, problem });

/**
 * Before new work on a guest, whose lock is held: a lease of it can only be one of a pause that is over, or went wrong.
 * @throws GuestMayBePaused
 */
export async function settleOwnLease(
  stateDirectory: string,
  guest: string,
  history: LeaseHistory,
): Promise<void> {
  for (const found of await recoverPauses(stateDirectory, guest)) {
    const settled = { resumed: [], mayBePaused: [] as Recovered['mayBePaused'] };
    await settleLease(found, history, settled);
    const [stuck] = settled.mayBePaused;
    if (stuck) throw new UmlsnapError('GuestMayBePaused', { ...stuck, guardianPid: null });
  }
  // Only after it runs. One that can't be thawed is frozen no longer than its own timer says.
  await recoverFreezes(stateDirectory, guest);
}

/** Notes what became of freezes that dead processes of ours had begun. */
export function settleFreezes(freezes: RecoveredFreeze[], recovered: Recovered): void {
  for (const freeze of freezes) {
    if (freeze.found === 'thawed') recovered.thawed.push(freeze.guest);
    if (freeze.found !== 'mayBeFrozen') continue;
    recovered.problems.push(explainError(new UmlsnapError('GuestMayBeFrozen', freeze)));
  }
}

/** The history MUST know how a pause ended before its lease is dropped. */
async function settleLease(
  found: RecoveredPause,
  history: LeaseHistory,
  recovered: Pick<Recovered, 'resumed' | 'mayBePaused'>,
): Promise<void> {
  if (found.found === 'inProgress') return;
  if (found.found === 'mayBePaused') {
    recovered.mayBePaused.push(stuckGuest(found));
    return;
  }
  // A history that was deleted since knows nothing of the pause.
  const isOpen = (await history.openPauses()).some(({ pause }) => pause === found.lease.pause);
  if (isOpen) await history.endPause(found.lease.pause, found.end);
  dropLease(found.file, found.lease.pause);
  if (found.resumedByUs) recovered.resumed.push(found.lease.guest);
}

async function closeDeadJobs(history: StartHistory, recovered: Recovered): Promise<void> {
  const isDead = (job: JobRecord) =>
    job.bootId !== bootId() || !isAlive({ pid: job.pid, startTicks: job.pidStartTicks });
  const dead = (await history.runningJobs()).filter(isDead);
  const openPauses = await history.openPauses();
  for (const { job } of dead) {
    const finishedAt = new Date().toISOString();
    // Its lease is gone or was dealt with above: whatever guarded this pause has ended it.
    const open = openPauses.filter(
      (pause) => pause.job === job && !recovered.mayBePaused.some((g) => g.guest === pause.guest),
    );
    for (const { pause } of open)
      await history.endPause(pause, { pausedMs: null, endedBy: 'guardian', endedAt: finishedAt });
    const message = 'The process that worked on it died; what it had begun was undone.';
    const error = { phase: unknownPhase, code: 'Interrupted', message };
    const end: JobEnd = { status: 'interrupted', finishedAt, error, warnings: [], summary: {} };
    if (await closeJob(history, job, end)) recovered.closedJobs.push(job);
  }
}

/** False when another command that is starting as well was faster. */
async function closeJob(history: StartHistory, job: string, end: JobEnd): Promise<boolean> {
  try {
    const text = end.error?.message ?? end.status;
    await history.finishJob(job, end, [{ at: end.finishedAt, level: 'error', text }]);
    return true;
  } catch (error) {
    if (isError(error, 'JobEnded')) return false;
    throw error;
  }
}
