import { reasonOf } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import type { PauseIntent } from '../history/records.js';
import { ownIdentity } from '../process-identity.js';
import { becomeUrgent } from '../urgency.js';
import type { GuardedGuest, Guardian, PauseEnded } from './guardian.js';
import { dropLease, type LeaseEnd, writeLease } from './lease.js';

/** Where pauses are written down; the history stands behind it. */
export interface PauseLedger {
  intendPause(intent: PauseIntent): Promise<void>;
  endPause(pause: string, end: LeaseEnd): Promise<void>;
}

export interface PauseRequest {
  /** Unique name of this pause. */
  pause: string;
  job: string;
  guarded: GuardedGuest;
  guardian: Guardian;
  budgetMs: number;
  ledger: PauseLedger;
  /** Aborted when the job is to be given up: the guest is then resumed first. */
  signal: AbortSignal;
  /** The phase that the job is in, for the error of a pause that went wrong. */
  phase(): string;
  /** Runs when all is written down and nothing slow is left between it and `stop`. */
  getReady(): Promise<void>;
  /**
   * Runs as soon as the guest is known to run again, or can't be known to, and before anything is written down.
   * @param pausedMs how long it stood still; null when that went wrong
   */
  released?(pausedMs: number | null): Promise<void>;
  /** The longest that `getReady` takes. A lease whose time is over is taken for one of a pause that hangs. */
  readyLimitMs: number;
}

/** What may be known inside a pause. */
export interface Paused {
  /** Aborted at the end of the budget, when the guardian has died, and when the job is to be given up. */
  signal: AbortSignal;
  /** End of the budget on the monotonic clock. */
  deadlineMs: number;
}

/**
 * Runs `use` while the guest stands still, and has it resumed on every way out. The guardian MUST be armed, and the
 * pause MUST be durable in the lease and in the history, before `stop` is sent; nothing is written to either until
 * the guest runs again. The value counts only if our own `go`, asked for by us, ended the pause.
 * @throws what `use` throws, once the guest runs; or the reason why the pause is void
 */
export async function withPausedGuest<T>(
  request: PauseRequest,
  use: (paused: Paused) => Promise<T>,
): Promise<{ value: T; pausedMs: number }> {
  const { guarded, guardian, budgetMs, ledger, pause, job } = request;
  request.signal.throwIfAborted();
  const intendedAt = new Date().toISOString();
  await ledger.intendPause({ pause, job, guest: guarded.guest, budgetMs, intendedAt });
  // Not only told to the work: it may be waiting for something that never comes, and the guest with it.
  const giveUp = () => guardian.giveUp();
  request.signal.addEventListener('abort', giveUp, { once: true });
  const outcome = await stopUseGo(request, use).finally(() =>
    request.signal.removeEventListener('abort', giveUp),
  );
  await request.released?.('value' in outcome ? outcome.pausedMs : null);
  if ('error' in outcome) {
    // What went wrong first is what is told; a lease that stays for it is closed by `recover`.
    await settle(request, outcome).catch(() => {});
    throw whatToTell(request, outcome);
  }
  await settle(request, outcome);
  return outcome;
}

type Outcome<T> =
  | { value: T; pausedMs: number }
  | { error: unknown; stopWasSent: boolean; ended: PauseEnded | undefined };

/** All that has to be done and durable before `stop` may be sent. */
async function prepare(request: PauseRequest): Promise<void> {
  const { guardian, guarded, budgetMs, job, pause } = request;
  await writeLease(guarded.leaseFile, {
    ...{ guest: guarded.guest, job, pause, socketPath: guarded.socketPath, main: guarded.main },
    orchestrator: ownIdentity(),
    guardian: guardian.identity,
    deadlineAt: new Date(Date.now() + request.readyLimitMs + budgetMs).toISOString(),
  });
  await request.getReady();
  request.signal.throwIfAborted();
  guardian.throwIfDead();
}

async function stopUseGo<T>(request: PauseRequest, use: (paused: Paused) => Promise<T>): Promise<Outcome<T>> {
  const { guardian, budgetMs } = request;
  let stopWasSent = false;
  let becomeOrdinary = () => {};
  try {
    await prepare(request);
    becomeOrdinary = becomeUrgent();
    stopWasSent = true;
    await guardian.pause(request.pause, budgetMs);
  } catch (error) {
    becomeOrdinary();
    return { error, stopWasSent, ended: undefined };
  }
  const deadlineMs = performance.now() + budgetMs;
  const signal = AbortSignal.any([request.signal, guardian.early]);
  let used: { value: T } | { error: unknown };
  try {
    const value = await use({ signal, deadlineMs });
    // Given up at the last moment: what was captured may have been captured while the guardian was told to resume.
    signal.throwIfAborted();
    used = { value };
  } catch (error) {
    used = { error };
  }
  const phase = request.phase();
  let ended: PauseEnded;
  try {
    ended = await guardian.resume();
  } catch (error) {
    return { error, stopWasSent, ended: undefined };
  } finally {
    becomeOrdinary();
  }
  const flaw = flawOf(request, ended, phase);
  if (flaw) return { error: flaw, stopWasSent, ended };
  return 'error' in used
    ? { error: used.error, stopWasSent, ended }
    : { value: used.value, pausedMs: ended.pausedMs ?? 0 };
}

/** Why a pause that ended like this makes its capture void, whatever the capture looks like. */
function flawOf(request: PauseRequest, ended: PauseEnded, phase: string): UmlsnapError | undefined {
  const guest = request.guarded.guest;
  if (ended.over === 'gone') return new UmlsnapError('GuestGone', { guest, phase, leftoverPids: [] });
  if (ended.endedBy === 'deadline') {
    const { budgetMs } = request;
    const pausedMs = ended.pausedMs ?? budgetMs;
    return new UmlsnapError('PauseBudgetExceeded', { guest, phase, pausedMs, budgetMs, guestResumed: true });
  }
  if (ended.over !== 'resumed') return new UmlsnapError('ResumedByOthers', { guest, phase });
  if (ended.endedBy === 'guardian') {
    const problem = 'it ended the pause without being asked to';
    return new UmlsnapError('GuardianFailed', { guest, problem, guestState: 'running' });
  }
  return undefined;
}

/** The guest runs: now the pause is written down as ended, and then its lease goes. */
async function settle<T>(request: PauseRequest, outcome: Outcome<T>): Promise<void> {
  // The lease of a guest that may be paused is what `recover` will go by.
  if (!isKnownToBeOver(outcome)) return;
  const end = endOf(outcome);
  await request.ledger.endPause(request.pause, { ...end, endedAt: new Date().toISOString() });
  dropLease(request.guarded.leaseFile, request.pause);
}

/** After a `stop`, only its end as it was told, or a failure that says what became of the guest, is proof. */
function isKnownToBeOver<T>(outcome: Outcome<T>): boolean {
  if ('value' in outcome || !outcome.stopWasSent || outcome.ended) return true;
  const { error } = outcome;
  if (isError(error, 'GuardianFailed') || isError(error, 'StopUnanswered')) {
    return error.facts.guestState === 'running';
  }
  return isError(error, 'GuestAlreadyStopped') || isError(error, 'GuestGone');
}

/** What can't be told to be over is told as what it is, whatever else it was. */
function whatToTell<T>(request: PauseRequest, outcome: Outcome<T> & { error: unknown }): unknown {
  const { error } = outcome;
  if (isKnownToBeOver(outcome) || isError(error, 'GuestMayBePaused')) return error;
  const facts = { guest: request.guarded.guest, guardianPid: null, problem: reasonOf(error) };
  return new UmlsnapError('GuestMayBePaused', facts, error);
}

function endOf<T>(outcome: Outcome<T>): Omit<LeaseEnd, 'endedAt'> {
  if ('value' in outcome) return { pausedMs: outcome.pausedMs, endedBy: 'request' };
  const { ended, error, stopWasSent } = outcome;
  const code = error instanceof UmlsnapError ? error.code : undefined;
  if (code === 'GuestGone') return { pausedMs: null, endedBy: 'guestGone' };
  if (ended?.over === 'others') return { pausedMs: null, endedBy: 'others' };
  if (ended) return { pausedMs: ended.pausedMs, endedBy: ended.endedBy };
  const isNotOurs = !stopWasSent || code === 'GuestAlreadyStopped';
  return { pausedMs: null, endedBy: isNotOurs ? 'notStopped' : 'guardian' };
}
