import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { reasonOf } from '../error-text.js';
import { becomeUrgent } from '../urgency.js';
import {
  formatLine,
  type GuardianCause,
  type GuardianOrder,
  type GuardianReport,
  parseOrder,
  rehearseProtocol,
} from './guardian-protocol.js';
import { endLease, endUnusedLease, type LeaseEnd } from './lease.js';
import { type PauseResult, StopAndGo } from './stop-and-go.js';

/**
 * The guardian: a process of its own, in a session of its own, and the only one that sends `stop` and `go` while a
 * job runs. It resumes the guest on the first of: asked to, deadline, pipe closed, signal, protocol error. It ends
 * when its pipe is closed and no pause is open, and MUST NOT end before that.
 */
class GuardianProcess {
  #guest: StopAndGo | undefined;
  #leaseFile = '';
  #proveStopAfterMs = proveStopAfterMs;
  #pauseName = '';
  #deadline: NodeJS.Timeout | undefined;
  #ending: Promise<void> | undefined;

  async obey(order: GuardianOrder): Promise<void> {
    switch (order.do) {
      case 'arm':
        this.#leaseFile = order.leaseFile;
        this.#proveStopAfterMs = order.proveStopAfterMs ?? proveStopAfterMs;
        this.#guest = await StopAndGo.open({ socketPath: order.socketPath, main: order.main });
        rehearseProtocol();
        await this.#guest.rehearse(rehearsalMs);
        return say({ said: 'armed' });
      case 'pause':
        this.#pauseName = order.pause;
        return await this.#pause(order.budgetMs);
      case 'resume':
        return await this.end('request');
    }
  }

  /** Ends the pause that is open, if one is. The first cause counts. */
  end(cause: GuardianCause): Promise<void> {
    clearTimeout(this.#deadline);
    if (this.#ending) return this.#ending;
    if (!this.#guest?.isOpen) return Promise.resolve();
    this.#ending = this.#resume(this.#guest, cause).finally(() => {
      this.#ending = undefined;
    });
    return this.#ending;
  }

  /**
   * Ends the pause that is open, and then says in the lease of a pause that was never ordered that it stopped nobody:
   * `recover` then sends no `go` to a guest that somebody else may have stopped.
   */
  async leave(): Promise<void> {
    await this.end('guardian');
    if (this.#leaseFile === '') return;
    const ended = { endedAt: new Date().toISOString(), endedBy: 'notStopped', pausedMs: null } as const;
    tryToNote(() => endUnusedLease(this.#leaseFile, process.pid, ended));
  }

  async #pause(budgetMs: number): Promise<void> {
    if (!this.#guest || this.#guest.isOpen) throw new Error('pause ordered out of turn');
    // The budget runs from before the request, so that no delay of an answer can lengthen the pause.
    this.#deadline = setTimeout(() => this.end('deadline').catch(leave), budgetMs);
    const answer = await this.#guest.stop(budgetMs);
    if (this.#ending || (answer !== 'refused' && !this.#guest.isOpen)) return;
    if (answer === 'stopped') return say({ said: 'paused' });
    if (answer === 'refused') {
      clearTimeout(this.#deadline);
      return say({ said: 'refused' });
    }
    say({ said: 'unanswered' });
    await this.end('deadline');
  }

  async #resume(guest: StopAndGo, cause: GuardianCause): Promise<void> {
    const result = await guest.resume(this.#proveStopAfterMs);
    this.#noteInLease(cause, result);
    say({ said: 'ended', endedBy: cause, over: result.over, pausedMs: result.pausedMs });
  }

  #noteInLease(cause: GuardianCause, result: PauseResult): void {
    const endedBy: Record<PauseResult['over'], LeaseEnd['endedBy']> = {
      resumed: cause,
      others: 'others',
      notOurs: 'notStopped',
      gone: 'guestGone',
    };
    const { pausedMs } = result;
    const ended = { endedAt: new Date().toISOString(), endedBy: endedBy[result.over], pausedMs };
    tryToNote(() => endLease(this.#leaseFile, this.#pauseName, ended));
  }
}

function tryToNote(note: () => void): void {
  try {
    note();
  } catch {
    // The guest runs, which is what counts; without the note `recover` asks the guest itself.
  }
}

const rehearsalMs = 5000;
/** A stop whose answer is garbled or lost is tested for by other means after this time, if the order to arm gives no other. */
const proveStopAfterMs = 5000;

function say(report: GuardianReport): void {
  process.stdout.write(formatLine(report));
}

/** The guest is resumed by now, or its resume has failed for a reason of ours: nothing is left to do here. */
function leave(error: unknown): never {
  say({ said: 'failed', problem: reasonOf(error) });
  process.exit(1);
}

/** Ahead of other work on the host, and last to be killed for memory, where we have the rights for it. */
function claimImportance(): void {
  becomeUrgent();
  try {
    writeFileSync('/proc/self/oom_score_adj', '-900');
  } catch {
    // An ordinary process guards as well.
  }
}

function main(): void {
  claimImportance();
  const guardian = new GuardianProcess();
  const endAndExit = (exitCode: number) => guardian.leave().then(() => process.exit(exitCode), leave);
  // Nobody reads any more: the closed stdin says the same, and that is where it is dealt with.
  process.stdout.on('error', () => {});
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const)
    process.on(signal, () => endAndExit(0));
  process.on('uncaughtException', () => endAndExit(1));
  process.on('unhandledRejection', () => endAndExit(1));
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    Promise.resolve()
      .then(() => guardian.obey(parseOrder(line)))
      .catch(async (error) => {
        await guardian.end('guardian');
        leave(error);
      });
  });
  lines.on('close', () => endAndExit(0));
}

main();
