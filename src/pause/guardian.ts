import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { childEnvironment } from '../child-environment.js';
import { reasonOf } from '../error-text.js';
import { type GuestState, problemOf, UmlsnapError } from '../errors.js';
import { processEntry } from '../process-entry.js';
import { isAlive, isHeld, type ProcessIdentity, readProcessStat } from '../process-identity.js';
import { Doorbell } from './doorbell.js';
import {
  formatLine,
  type GuardianOrder,
  type GuardianReport,
  parseReport,
  rehearseProtocol,
} from './guardian-protocol.js';
import { type PausableGuest, StopAndGo } from './stop-and-go.js';

export interface GuardedGuest extends PausableGuest {
  guest: string;
  leaseFile: string;
  /** When a stop whose answer does not come is first tested for by other means, if not when the guardian does by itself. */
  proveStopAfterMs?: number | undefined;
}

export type PauseEnded = Extract<GuardianReport, { said: 'ended' }>;

/** How long we wait for a guardian that has to resume; after that the guest may be paused, and we say so loudly. */
const resumePatienceMs = 10_000;
const armPatienceMs = 15_000;
/** How often a guardian with a pause open is looked at. */
const watchMs = 100;

/** Our side of a guardian. Sends nothing to the guest itself, unless the guardian dies. */
export class Guardian {
  readonly identity: ProcessIdentity;
  readonly #guarded: GuardedGuest;
  readonly #child: ChildProcess;
  #stopWasAnswered = false;
  #pauseOpen = false;
  #ended: PauseEnded | undefined;
  #death: string | undefined;
  /** Our own resuming in the place of a dead guardian. */
  #rescue: Promise<never> | undefined;
  #early = new AbortController();
  #watch: NodeJS.Timeout | undefined;
  readonly #news = new Doorbell();
  #reports: GuardianReport[] = [];

  private constructor(guarded: GuardedGuest, child: ChildProcess, identity: ProcessIdentity) {
    this.#guarded = guarded;
    this.#child = child;
    this.identity = identity;
    child.once('exit', (code, signal) => this.#died(`it ended with ${signal ?? code}`));
    child.stdin?.on('error', (error) => this.#died(problemOf(error)));
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => this.#hear(line));
  }

  /**
   * Starts a guardian for a guest and waits until it is armed.
   * @throws GuardianFailed, the guest untouched
   */
  static async start(guarded: GuardedGuest): Promise<Guardian> {
    // --no-lazy: functions are compiled when they are loaded, not when the guest stands still.
    const child = spawn(process.execPath, ['--no-lazy', processEntry('guardian-process')], {
      // A session of its own: a signal to our process group, Ctrl-C above all, must not reach it.
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
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
    const guardian = new Guardian(guarded, child, { pid: stat.pid, startTicks: stat.startTicks });
    guardian.#order({
      do: 'arm',
      socketPath: guarded.socketPath,
      main: guarded.main,
      leaseFile: guarded.leaseFile,
      proveStopAfterMs: guarded.proveStopAfterMs,
    });
    rehearseProtocol();
    const report = await guardian.#nextReport(armPatienceMs);
    if (report?.said === 'armed') return guardian;
    guardian.close();
    throw failed(report?.said === 'failed' ? report.problem : (guardian.#death ?? 'it did not get ready'));
  }

  /** Aborted when the pause has ended, or the guardian has died, without our asking. */
  get early(): AbortSignal {
    return this.#early.signal;
  }

  /**
   * A guardian that died before it was asked to stop the guest has left nothing to end: a `go` from us could only end
   * what somebody else did on purpose.
   * @throws GuardianFailed
   */
  throwIfDead(): void {
    if (this.#death === undefined) return;
    const { guest } = this.#guarded;
    throw new UmlsnapError('GuardianFailed', { guest, problem: this.#death, guestState: 'running' });
  }

  /**
   * Has the guest stopped. Resolves once it is.
   * @throws GuestAlreadyStopped (and left so), StopUnanswered, GuestGone, GuestMayBePaused, GuardianFailed
   */
  async pause(pause: string, budgetMs: number): Promise<void> {
    this.#ended = undefined;
    this.#stopWasAnswered = false;
    this.#early = new AbortController();
    this.#pauseOpen = true;
    this.#order({ do: 'pause', pause, budgetMs });
    this.#watch = setInterval(() => this.#endIfHeld(), watchMs);
    const report = await this.#nextReport(budgetMs + resumePatienceMs);
    if (report?.said === 'paused') {
      this.#stopWasAnswered = true;
      return;
    }
    if (report?.said === 'refused') {
      this.#pauseOpen = false;
      throw new UmlsnapError('GuestAlreadyStopped', { guest: this.#guarded.guest });
    }
    const ended = await this.#waitForEnd();
    if (ended.over === 'gone') throw this.#gone('stop');
    throw new UmlsnapError('StopUnanswered', {
      guest: this.#guarded.guest,
      waitedMs: budgetMs,
      guestState: 'running',
    });
  }

  /** Has the guest resumed at once, be it that its answer to `stop` has not come; `pause` and `resume` tell how it ended. */
  giveUp(): void {
    if (this.#pauseOpen && !this.#death) this.#order({ do: 'resume' });
  }

  /**
   * Has the guest resumed, and tells how its pause ended; also when it has ended by itself before.
   * @throws GuestMayBePaused, GuardianFailed with the guest resumed by us
   */
  async resume(): Promise<PauseEnded> {
    if (!this.#ended && !this.#death) this.#order({ do: 'resume' });
    return await this.#waitForEnd();
  }

  /** Closes the pipe: the guardian resumes what is still open, and ends. */
  close(): void {
    clearInterval(this.#watch);
    this.#child.stdin?.end();
    this.#child.stdout?.destroy();
  }

  async #waitForEnd(): Promise<PauseEnded> {
    const deadlineMs = performance.now() + resumePatienceMs;
    while (!this.#ended && !this.#death && performance.now() < deadlineMs) {
      await this.#news.wait(deadlineMs - performance.now());
    }
    clearInterval(this.#watch);
    if (this.#ended) return this.#ended;
    if (this.#death) return await (this.#rescue ?? this.#resumeOurselves(this.#death));
    throw this.#mayBePaused(`it has not been resumed within ${resumePatienceMs} ms`, this.identity.pid);
  }

  /** The guardian is dead: what it held open is ours to end, by the same rule. */
  async #resumeOurselves(problem: string): Promise<never> {
    const failed = (guestState: GuestState) =>
      new UmlsnapError('GuardianFailed', { guest: this.#guarded.guest, problem, guestState });
    const taken = await StopAndGo.takeOver(this.#guarded, this.#stopWasAnswered).catch((error) => {
      throw this.#mayBePaused(`the guardian died (${problem}), and ${reasonOf(error)}`, null);
    });
    // It goes on for as long as we live, also when we no longer wait for it.
    const resumed = taken.resume(0).finally(() => taken.close());
    const result = await Promise.race([resumed, sleep(resumePatienceMs, undefined, { ref: false })]);
    if (!result)
      throw this.#mayBePaused(`the guardian died (${problem}), and the guest answers no \`go\``, null);
    this.#pauseOpen = false;
    throw result.over === 'gone' ? this.#gone('go') : failed('running');
  }

  /** A guardian that is stopped itself keeps no deadline: it is ended, and we do its work. */
  #endIfHeld(): void {
    if (!this.#pauseOpen || !isHeld(this.identity)) return;
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
    if (report.said === 'ended') {
      this.#ended = report;
      this.#pauseOpen = false;
      if (report.endedBy !== 'request') this.#early.abort();
    } else {
      this.#reports.push(report);
    }
    this.#news.ring();
  }

  /** The guest MUST NOT stand still any longer than it takes us to notice, whatever the work in the pause is doing. */
  #died(problem: string): void {
    if (this.#death !== undefined) return;
    this.#death = problem;
    if (this.#pauseOpen) {
      this.#rescue = this.#resumeOurselves(problem);
      this.#rescue.catch(() => {}); // told to whoever waits for the end
      this.#early.abort();
    }
    this.#news.ring();
  }

  /** The next report that is not the end of a pause; undefined when the pause ended, the guardian died, or time is up. */
  async #nextReport(patienceMs: number): Promise<GuardianReport | undefined> {
    const deadlineMs = performance.now() + patienceMs;
    while (this.#reports.length === 0 && !this.#ended && !this.#death && performance.now() < deadlineMs) {
      await this.#news.wait(deadlineMs - performance.now());
    }
    return this.#reports.shift();
  }
}

/** Runs `use` with a guardian armed for the guest; its pipe is closed on every way out. */
export async function withGuardian<T>(
  guarded: GuardedGuest,
  use: (guardian: Guardian) => Promise<T>,
): Promise<T> {
  const guardian = await Guardian.start(guarded);
  try {
    return await use(guardian);
  } finally {
    guardian.close();
  }
}
