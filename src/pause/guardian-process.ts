import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { reasonOf } from '../error-text.js';
import { isAlive, isHeld, type ProcessIdentity } from '../process-identity.js';
import { raisePriority, stayInRealtime } from '../priority.js';
import {
  formatLine,
  type GuardianCause,
  type GuardianOrder,
  type GuardianReport,
  parseOrder,
} from './guardian-protocol.js';
import { GuestResumer } from './guest-resumer.js';
import { endLease, endUnusedLease, type LeaseEnd } from './lease.js';
import { hostClockMs, PausePage } from './pause-page.js';
import { type TakenOver, takeOver } from './take-over.js';

/** Where the orchestrator puts the page of the pause. */
const pageFd = 3;
const warmUpLimitMs = 5000;
/** A stop whose answer is garbled or lost is tested for by other means after this time, if the order to arm gives no other. */
const defaultProveStopAfterMs = 5000;
/** How often it is looked how far the pause is, and after how many of these whether the one who pauses is at work. */
const lookEveryMs = 5;
const looksPerCheck = 10;

interface Guarded {
  pause: string;
  budgetMs: number;
  pauser: ProcessIdentity;
}

/**
 * The guardian: a process of its own, in a session of its own. It stands in nobody's way while a pause goes well. It ends the pause in
 * the place of the capture process on the first of: the budget is over; that process is dead or held; asked to; pipe closed; signal;
 * protocol error. It ends when its pipe is closed and no pause is open, and MUST NOT end before that.
 */
class GuardianProcess {
  readonly #page = new PausePage(pageFd);
  #resumer: GuestResumer | undefined;
  #leaseFile = '';
  #proveStopAfterMs = defaultProveStopAfterMs;
  #guarded: Guarded | undefined;
  #watch: NodeJS.Timeout | undefined;
  #ending: Promise<void> | undefined;

  async obey(order: GuardianOrder): Promise<void> {
    switch (order.type) {
      case 'arm':
        this.#leaseFile = order.leaseFile;
        this.#proveStopAfterMs = order.proveStopAfterMs ?? defaultProveStopAfterMs;
        this.#resumer = await GuestResumer.open({ socketPath: order.socketPath, main: order.main });
        this.#resumer.reserve();
        await this.#resumer.warmUp(warmUpLimitMs);
        return send({ type: 'armed' });
      case 'guard':
        return this.#guard(order);
      case 'end':
        return await this.end('request');
    }
  }

  /** Ends the pause that is open, if one is. The first cause counts. */
  end(cause: GuardianCause): Promise<void> {
    clearInterval(this.#watch);
    if (this.#ending) return this.#ending;
    if (!this.#guarded || !this.#resumer) return Promise.resolve();
    this.#ending = this.#end(this.#guarded, this.#resumer, cause).finally(() => {
      this.#ending = undefined;
      this.#guarded = undefined;
    });
    return this.#ending;
  }

  /**
   * Ends the pause that is open, and then says in the lease of a pause that was never begun that it stopped nobody: `recover` then
   * sends no `go` to a guest that somebody else may have stopped.
   */
  async leave(): Promise<void> {
    await this.end('guardian');
    if (this.#leaseFile === '') return;
    const ended = { endedAt: new Date().toISOString(), endedBy: 'notStopped', pausedMs: null } as const;
    tryToNote(() => endUnusedLease(this.#leaseFile, process.pid, ended));
  }

  #guard({ pause, budgetMs, pauser }: Guarded): void {
    if (!this.#resumer || this.#guarded) throw new Error('guarding ordered out of turn');
    this.#guarded = { pause, budgetMs, pauser };
    this.#page.write({ stage: 'guarded', sentAtMs: 0, stoppedAtMs: 0 });
    let looks = 0;
    this.#watch = setInterval(() => {
      looks += 1;
      const cause = this.#causeToEnd(budgetMs, pauser, looks % looksPerCheck === 0);
      if (cause) this.end(cause).catch(leave);
    }, lookEveryMs);
    send({ type: 'guarding' });
  }

  /** The budget runs from before the request, so that no delay of an answer can lengthen the pause. */
  #causeToEnd(budgetMs: number, pauser: ProcessIdentity, isCheck: boolean): GuardianCause | null {
    const { stage, sentAtMs } = this.#page.read();
    if (stage !== 'stopping' && stage !== 'stopped') return null;
    if (hostClockMs() - sentAtMs >= budgetMs) return 'deadline';
    return isCheck && (isHeld(pauser) || !isAlive(pauser)) ? 'pauser' : null;
  }

  async #end({ pause, pauser }: Guarded, resumer: GuestResumer, endedBy: GuardianCause): Promise<void> {
    const taken = await takeOver({
      ...{ page: this.#page, pauser, resumer, proveStopAfterMs: this.#proveStopAfterMs },
    });
    // An orchestrator that lives has heard from the capture process itself.
    const isUnheard = endedBy === 'guardian' && taken.wasStopped;
    if (taken.over !== 'byPauser' || isUnheard) this.#noteInLease(pause, endedBy, taken);
    send({ type: 'ended', endedBy, ...taken });
  }

  #noteInLease(pause: string, cause: GuardianCause, { over, pausedMs }: TakenOver): void {
    const endedBy: Record<TakenOver['over'], LeaseEnd['endedBy']> = {
      resumed: cause === 'pauser' ? 'guardian' : cause,
      byPauser: 'request',
      others: 'others',
      notOurs: 'notStopped',
      notPaused: 'notStopped',
      gone: 'guestGone',
    };
    const ended = { endedAt: new Date().toISOString(), endedBy: endedBy[over], pausedMs };
    tryToNote(() => endLease(this.#leaseFile, pause, ended));
  }
}

function tryToNote(note: () => void): void {
  try {
    note();
  } catch {
    // The guest runs, which is what counts; without the note `recover` asks the guest itself.
  }
}

function send(report: GuardianReport): void {
  process.stdout.write(formatLine(report));
}

/** The guest is resumed by now, or its resume has failed for a reason of ours: nothing is left to do here. */
function leave(error: unknown): never {
  send({ type: 'failed', problem: reasonOf(error) });
  process.exit(1);
}

/** Ahead of other work on the host, and last to be killed for memory, where we have the rights for it. */
function claimImportance(): void {
  raisePriority();
  stayInRealtime();
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
