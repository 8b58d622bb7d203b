import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { childEnvironment } from '../child-environment.js';
import { reasonOf } from '../error-text.js';
import { type GuestState, problemOf, UmlsnapError } from '../errors.js';
import { processEntry } from '../process-entry.js';
import { isAlive, isHeld, type ProcessIdentity, readProcessStat } from '../process-identity.js';
import { formatLine, type GuardianOrder, type GuardianReport, parseReport } from './guardian-protocol.js';
import { GuestResumer, type PausableGuest } from './guest-resumer.js';
import type { PausePage } from './pause-page.js';
import { takeOver } from './take-over.js';
import { WakeSignal } from './wake-signal.js';

export interface GuardedGuest extends PausableGuest {
  guest: string;
  leaseFile: string;
  /** When a stop whose answer does not come is first tested for by other means, if not when the guardian does by itself. */
  proveStopAfterMs?: number | undefined;
}

export type PauseEnded = Extract<GuardianReport, { type: 'ended' }>;

/** How long we wait for a guardian that has to resume; after that the guest may be paused, and we say so loudly. */
const resumePatienceMs = 10_000;
const armPatienceMs = 15_000;
/** How often a guardian of an open pause is looked at. */
const watchMs = 100;

/** Our side of a guardian. Sends nothing to the guest itself, unless the guardian dies. */
export class Guardian {
  readonly identity: ProcessIdentity;
  readonly #guarded: GuardedGuest;
  readonly #page: PausePage;
  readonly #child: ChildProcess;
  /** Whom it watches; null: no pause is open. */
  #pauser: ProcessIdentity | null = null;
  #ended: PauseEnded | undefined;
  #death: string | undefined;
  /** Our own resuming in the place of a dead guardian. */
  #rescue: Promise<never> | undefined;
  #early = new AbortController();
  #watch: NodeJS.Timeout | undefined;
  readonly #news = new WakeSignal();
  #reports: GuardianReport[] = [];

  private constructor(
    guarded: GuardedGuest,
    page: PausePage,
    child: ChildProcess,
    identity: ProcessIdentity,
  ) {
    this.#guarded = guarded;
    this.#page = page;
    this.#child = child;
    this.identity = identity;
    child.once('exit', (code, signal) => this.#died(`it ended with ${signal ?? code}`));
    child.stdin?.on('error', (error) => this.#died(problemOf(error)));
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => this.#hear(line));
  }

  /**
   * Starts a guardian for a guest and waits until it is armed.
   * @param page where the capture process writes how far its pause is
   * @throws GuardianFailed, the guest untouched
   */
  static async start(guarded: GuardedGuest, page: PausePage): Promise<Guardian> {
    // --no-lazy: functions are compiled when they are loaded, not when the guest stands still.
    const child = spawn(process.execPath, ['--no-lazy', processEntry('guardian-process')], {
      // A session of its own: a signal to our process group, Ctrl-C above all, must not reach it.
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore', page.fd],
      cwd: '/',
      // Nothing that the caller's environment would load into it.
      env: childEnvironment(),
    });
    child.unref();
    const failed = (problem: string) => {
      const guestState = isAlive(guarded.main) ? 'running' : 'gone';
      return new UmlsnapError('GuardianFailed', { guest: guarded.guest, problem, guestState });
    };
    const spawnError = await new Promise<Error | undefined>((resolve) => {
      child.once('spawn', () => resolve(undefined));
      child.once('error', resolve);
    });
    const stat = child.pid === undefined ? undefined : readProcessStat(child.pid);
    if (spawnError || !stat) throw failed(spawnError ? problemOf(spawnError) : 'it ended at once');
    const { pid, startTicks } = stat;
    const guardian = new Guardian(guarded, page, child, { pid, startTicks });
    const { socketPath, main, leaseFile, proveStopAfterMs } = guarded;
    guardian.#order({ type: 'arm', socketPath, main, leaseFile, proveStopAfterMs });
    const report = await guardian.#nextReport(armPatienceMs);
    if (report?.type === 'armed') return guardian;
    guardian.close();
    throw failed(report?.type === 'failed' ? report.problem : (guardian.#death ?? 'it did not get ready'));
  }

  /** Aborted when the pause has been taken over, or the guardian has died, without our asking. */
  get early(): AbortSignal {
    return this.#early.signal;
  }

  /**
   * Has it watch over a pause: from now on the capture process may stop the guest.
   * @throws GuardianFailed, the guest untouched: a guardian that died before has left nothing to end, and a `go` from us could only
   *   end what somebody else did on purpose
   */
  async guard(pause: string, budgetMs: number, pauser: ProcessIdentity): Promise<void> {
    this.#ended = undefined;
    this.#early = new AbortController();
    this.#order({ type: 'guard', pause, budgetMs, pauser });
    const report = await this.#nextReport(armPatienceMs);
    if (report?.type !== 'guarding') {
      const problem = this.#death ?? (report?.type === 'failed' ? report.problem : 'it did not answer');
      throw new UmlsnapError('GuardianFailed', {
        guest: this.#guarded.guest,
        problem,
        guestState: 'running',
      });
    }
    this.#pauser = pauser;
    this.#watch = setInterval(() => this.#endIfHeld(), watchMs);
  }

  /**
   * Has it end the pause, if the capture process has not, and tells how it ended; also when it has ended before.
   * @throws GuestMayBePaused, GuardianFailed with the guest resumed by us
   */
  async end(): Promise<PauseEnded> {
    if (!this.#ended && !this.#death) this.#order({ type: 'end' });
    const deadlineMs = performance.now() + resumePatienceMs;
    while (!this.#ended && !this.#death && performance.now() < deadlineMs) {
      await this.#news.wait(deadlineMs - performance.now());
    }
    clearInterval(this.#watch);
    if (this.#ended) return this.#ended;
    if (this.#death) return await (this.#rescue ?? this.#takeOver(this.#death));
    throw this.#mayBePaused(`it has not been resumed within ${resumePatienceMs} ms`, this.identity.pid);
  }

  /** Closes the pipe: the guardian ends what is still open, and then itself. */
  close(): void {
    clearInterval(this.#watch);
    this.#child.stdin?.end();
    this.#child.stdout?.destroy();
  }

  /** The guardian is dead: what it watched over is ours to end, by the same rule. */
  async #takeOver(problem: string): Promise<never> {
    const failed = (guestState: GuestState) =>
      new UmlsnapError('GuardianFailed', { guest: this.#guarded.guest, problem, guestState });
    const pauser = this.#pauser;
    if (pauser === null) throw failed('running');
    const resumer = await GuestResumer.open(this.#guarded).catch((error) => {
      throw this.#mayBePaused(`the guardian died (${problem}), and ${reasonOf(error)}`, null);
    });
    // It goes on for as long as we live, also when we no longer wait for it.
    const taken = takeOver({ page: this.#page, pauser, resumer, proveStopAfterMs: 0 }).finally(() =>
      resumer.close(),
    );
    const result = await Promise.race([taken, sleep(resumePatienceMs, undefined, { ref: false })]);
    if (!result)
      throw this.#mayBePaused(`the guardian died (${problem}), and the guest answers no \`go\``, null);
    this.#pauser = null;
    throw result.over === 'gone' ? this.#gone('go') : failed('running');
  }

  /** A guardian that is stopped itself keeps no deadline: it is ended, and we do its work. */
  #endIfHeld(): void {
    if (this.#pauser === null || !isHeld(this.identity)) return;
    this.#child.kill('SIGKILL');
    this.#died('it was stopped by a signal');
  }

  #mayBePaused(problem: string, guardianPid: number | null): UmlsnapError<'GuestMayBePaused'> {
    return new UmlsnapError('GuestMayBePaused', { guest: this.#guarded.guest, guardianPid, problem });
  }

  #gone(phase: string): UmlsnapError<'GuestGone'> {
    return new UmlsnapError('GuestGone', { guest: this.#guarded.guest, phase, leftoverPids: [] });
  }

  #order(order: GuardianOrder): void {
    this.#child.stdin?.write(formatLine(order));
  }

  #hear(line: string): void {
    let report: GuardianReport;
    try {
      report = parseReport(line);
    } catch (error) {
      this.#child.kill('SIGTERM');
      this.#died(`it said something that is no report: ${problemOf(error)}`);
      return;
    }
    if (report.type === 'ended') {
      this.#ended = report;
      this.#pauser = null;
      if (report.endedBy !== 'request') this.#early.abort();
    } else {
      this.#reports.push(report);
    }
    this.#news.notify();
  }

  /** The guest MUST NOT stand still any longer than it takes us to notice. */
  #died(problem: string): void {
    if (this.#death !== undefined) return;
    this.#death = problem;
    if (this.#pauser !== null) {
      this.#rescue = this.#takeOver(problem);
      this.#rescue.catch(() => {}); // told to whoever waits for the end
      this.#early.abort();
    }
    this.#news.notify();
  }

  /** The next report that is not the end of a pause; undefined when the guardian died, or time is up. */
  async #nextReport(patienceMs: number): Promise<GuardianReport | undefined> {
    const deadlineMs = performance.now() + patienceMs;
    while (this.#reports.length === 0 && !this.#death && performance.now() < deadlineMs) {
      await this.#news.wait(deadlineMs - performance.now());
    }
    return this.#reports.shift();
  }
}

/** Runs `use` with a guardian armed for the guest; its pipe is closed on every way out. */
export async function withGuardian<T>(
  guarded: GuardedGuest,
  page: PausePage,
  use: (guardian: Guardian) => Promise<T>,
): Promise<T> {
  const guardian = await Guardian.start(guarded, page);
  try {
    return await use(guardian);
  } finally {
    guardian.close();
  }
}
