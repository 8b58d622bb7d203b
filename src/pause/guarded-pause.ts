import { reasonOf } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import type { PauseIntent } from '../history/records.js';
import { ownIdentity, type ProcessIdentity } from '../process-identity.js';
import type { PauseBroken, PauseOrder, PauseResult } from './capture-messages.js';
import type { GuardedGuest, Guardian, PauseEnded } from './guardian.js';
import { dropLease, endLease, type LeaseEnd, writeLease } from './lease.js';

/** Where pauses are written down; the history stands behind it. */
export interface PauseLedger {
  intendPause(intent: PauseIntent): Promise<void>;
  endPause(pause: string, end: LeaseEnd): Promise<void>;
}

/** Whoever stops the guest, and resumes it. */
export interface Pauser {
  readonly identity: ProcessIdentity;
  pause(order: Omit<PauseOrder, 'type'>, signal: AbortSignal): Promise<PauseResult | PauseBroken>;
}

export interface PauseRequest {
  /** Unique name of this pause. */
  pause: string;
  job: string;
  guarded: GuardedGuest;
  guardian: Guardian;
  pauser: Pauser;
  budgetMs: number;
  ledger: PauseLedger;
  /** Aborted when the job is to be given up: the guest is then resumed first. */
  signal: AbortSignal;
  /** The longest that may pass before the stop. A lease whose time is over is taken for one of a pause that hangs. */
  readyLimitMs: number;
}

type Outcome =
  | { type: 'resumed'; result: PauseResult }
  | { type: 'failed'; error: unknown; stopWasSent: boolean; ended: PauseEnded | undefined };

/**
 * One pause as it is written down: opened before the guest may be stopped, run once, and settled when the guest runs again. The pause
 * MUST be durable in the lease and in the history, and the guardian set, before `stop` is sent; nothing is written to either until
 * it is known how the pause ended. What was captured counts only if our own `go` ended it, within its budget.
 */
export class GuardedPause {
  readonly #request: PauseRequest;
  #outcome: Outcome | undefined;

  /** @throws StateUnusable, what the ledger throws, or the signal's reason; then there is nothing to be settled */
  static async open(request: PauseRequest): Promise<GuardedPause> {
    const { guarded, guardian, pauser, budgetMs, ledger, pause, job, signal, readyLimitMs } = request;
    signal.throwIfAborted();
    const opened = new GuardedPause(request);
    const intendedAt = new Date().toISOString();
    await ledger.intendPause({ pause, job, guest: guarded.guest, budgetMs, intendedAt });
    try {
      await writeLease(guarded.leaseFile, {
        ...{ guest: guarded.guest, job, pause, socketPath: guarded.socketPath, main: guarded.main },
        ...{ orchestrator: ownIdentity(), guardian: guardian.identity, pauser: pauser.identity },
        deadlineAt: new Date(Date.now() + readyLimitMs + budgetMs).toISOString(),
      });
      return opened;
    } catch (error) {
      opened.fail(error);
      await opened.settle();
      throw error;
    }
  }

  private constructor(request: PauseRequest) {
    this.#request = request;
  }

  /** What came of it; null when it did not end as it should have. */
  get result(): PauseResult | null {
    return this.#outcome?.type === 'resumed' ? this.#outcome.result : null;
  }

  /** Whether `stop` may have been sent. */
  get wasSent(): boolean {
    return this.result !== null || (this.#outcome?.type === 'failed' && this.#outcome.stopWasSent);
  }

  /** Whether the answer to `stop` was seen. */
  get wasStopped(): boolean {
    return (
      this.result !== null || (this.#outcome?.type === 'failed' && this.#outcome.ended?.wasStopped === true)
    );
  }

  /** Something went wrong before the guest could be stopped. */
  fail(error: unknown): void {
    this.#outcome ??= { type: 'failed', error, stopWasSent: false, ended: undefined };
  }

  /** Has the guest stopped, captured and resumed. Throws nothing: how it ended is told by `settle`. */
  async run(order: Omit<PauseOrder, 'type'>): Promise<void> {
    const { guardian, pauser, pause, budgetMs, signal } = this.#request;
    try {
      signal.throwIfAborted();
      await guardian.guard(pause, budgetMs, pauser.identity);
    } catch (error) {
      return this.fail(error);
    }
    let answer: PauseResult | PauseBroken | undefined;
    let failure: unknown;
    try {
      answer = await pauser.pause(order, AbortSignal.any([signal, guardian.early]));
      // Given up at the last moment: the guardian may have been told to end it.
      signal.throwIfAborted();
    } catch (error) {
      failure = error;
    }
    let ended: PauseEnded;
    try {
      ended = await guardian.end();
    } catch (error) {
      this.#outcome = { type: 'failed', error, stopWasSent: true, ended: undefined };
      return;
    }
    const error = this.#flawOf(ended, answer, order.terms.devices) ?? failure;
    const hasSaidHow = answer !== undefined && !(answer.type === 'broken' && answer.how === 'neverSent');
    const stopWasSent = ended.over === 'byPauser' ? hasSaidHow : ended.over !== 'notPaused';
    if (answer?.type === 'paused' && ended.over === 'byPauser') ended.pausedMs = answer.pausedMs;
    if (error !== undefined) this.#outcome = { type: 'failed', error, stopWasSent, ended };
    else this.#outcome = { type: 'resumed', result: answer as PauseResult };
  }

  /**
   * Writes down how it ended, and drops the lease, if that is known.
   * @returns what came of it
   * @throws why it did not end as it should have
   */
  async settle(): Promise<PauseResult | null> {
    const outcome = this.#outcome;
    if (outcome === undefined) return null;
    const { ledger, pause, guarded } = this.#request;
    const write = async () => {
      // The lease of a guest that may be paused is what `recover` will go by.
      if (!isKnownToBeOver(outcome)) return;
      const end = { ...endOf(outcome), endedAt: new Date().toISOString() };
      try {
        await ledger.endPause(pause, end);
      } catch (error) {
        // By which the history is told later.
        endLease(guarded.leaseFile, pause, end);
        throw error;
      }
      dropLease(guarded.leaseFile, pause);
    };
    if (outcome.type === 'resumed') {
      await write();
      return outcome.result;
    }
    // What went wrong first is what is told; a lease that stays for it is closed by `recover`.
    await write().catch(() => {});
    throw this.#whatToTell(outcome);
  }

  /** Why a pause that ended like this makes its capture void, whatever the capture looks like; undefined: it does not. */
  #flawOf(
    ended: PauseEnded,
    answer: PauseResult | PauseBroken | undefined,
    devices: string[],
  ): UmlsnapError | undefined {
    const { guarded, budgetMs, signal } = this.#request;
    const { guest } = guarded;
    const phase = ended.wasStopped ? 'capture' : 'stop';
    const how = answer?.type === 'broken' ? answer.how : undefined;
    if (ended.over === 'gone' || how === 'gone')
      return new UmlsnapError('GuestGone', { guest, phase, leftoverPids: [] });
    if (how === 'alreadyStopped' || ended.over === 'notOurs')
      return new UmlsnapError('GuestAlreadyStopped', { guest });
    const isTakenOver = ended.over === 'resumed' || ended.over === 'others';
    if (how === 'neverSent' || (isTakenOver && !ended.wasStopped && !signal.aborted))
      return new UmlsnapError('StopUnanswered', { guest, waitedMs: budgetMs, guestState: 'running' });
    if (isTakenOver && ended.endedBy === 'deadline') {
      const pausedMs = ended.pausedMs ?? budgetMs;
      return new UmlsnapError('PauseBudgetExceeded', {
        guest,
        phase,
        pausedMs,
        budgetMs,
        guestResumed: true,
      });
    }
    if (how === 'resumedByOthers' || (how === 'unresolved' && ended.over === 'others'))
      return new UmlsnapError('ResumedByOthers', { guest, phase });
    if (ended.endedBy === 'guardian') {
      const problem = 'it ended the pause without being asked to';
      return new UmlsnapError('GuardianFailed', { guest, problem, guestState: 'running' });
    }
    // Given up, or the capture process says itself what was wrong.
    if (how === undefined && ended.endedBy !== 'pauser' && (!isTakenOver || answer === undefined))
      return undefined;
    const problem = 'the capture process was held, or ended, in the pause';
    return new UmlsnapError('CaptureFailed', { guest, device: devices.join(', '), problem });
  }

  /** What can't be told to be over is told as what it is, whatever else it was. */
  #whatToTell(outcome: Outcome & { type: 'failed' }): unknown {
    const { error } = outcome;
    if (isKnownToBeOver(outcome) || isError(error, 'GuestMayBePaused')) return error;
    const facts = { guest: this.#request.guarded.guest, guardianPid: null, problem: reasonOf(error) };
    return new UmlsnapError('GuestMayBePaused', facts, error);
  }
}

/** After a `stop`, only its end as it was told, or a failure that says what became of the guest, is proof. */
function isKnownToBeOver(outcome: Outcome): boolean {
  if (outcome.type === 'resumed' || !outcome.stopWasSent || outcome.ended) return true;
  const { error } = outcome;
  if (isError(error, 'GuardianFailed') || isError(error, 'StopUnanswered')) {
    return error.facts.guestState === 'running';
  }
  return isError(error, 'GuestAlreadyStopped') || isError(error, 'GuestGone');
}

function endOf(outcome: Outcome): Omit<LeaseEnd, 'endedAt'> {
  if (outcome.type === 'resumed') return { pausedMs: outcome.result.pausedMs, endedBy: 'request' };
  const { ended, error, stopWasSent } = outcome;
  const code = error instanceof UmlsnapError ? error.code : undefined;
  if (code === 'GuestGone') return { pausedMs: null, endedBy: 'guestGone' };
  if (!stopWasSent || code === 'GuestAlreadyStopped') return { pausedMs: null, endedBy: 'notStopped' };
  if (code === 'ResumedByOthers') return { pausedMs: null, endedBy: 'others' };
  if (!ended || code === 'StopUnanswered') return { pausedMs: null, endedBy: 'guardian' };
  const { endedBy, pausedMs } = ended;
  return { pausedMs, endedBy: endedBy === 'pauser' ? 'guardian' : endedBy };
}
