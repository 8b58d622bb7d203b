import { setTimeout as sleep } from 'node:timers/promises';
import { isError } from '../errors.js';
import { probeStopped } from '../guest/stop-probe.js';
import { readGoAnswer, readStopAnswer } from '../mconsole/commands.js';
import { type Ask, MconsoleClient } from '../mconsole/mconsole-client.js';
import { isAlive, type ProcessIdentity } from '../process-identity.js';
import { Doorbell } from './doorbell.js';
import {
  afterEvent,
  type PauseEvent,
  type PauseOver,
  type PauseState,
  pauseOver,
  stopSent,
} from './resume-rule.js';

export interface PausableGuest {
  socketPath: string;
  /** The process that runs the guest's kernel. */
  main: ProcessIdentity;
}

export interface PauseResult {
  over: PauseOver;
  /** From `stop` answered to `go` answered; null when one of the two was never seen, or they came in reverse. */
  pausedMs: number | null;
}

/** `go` is sent again after 5 ms, backing off to 250 ms (design §2). */
const firstRetryMs = 5;
const lastRetryMs = 250;
/** Unanswered requests that are still listened for, the oldest always: a guest that wakes up late is resumed by that one. */
const maxOpenAsks = 8;
const barrierTimeoutMs = 250;
const barrierGapMs = 50;

/**
 * One pause of one guest: sends `stop`, and `go` until the rule of `resume-rule.ts` says that it is over. Used by the
 * guardian; and, without a stop of its own, by whoever resumes a guest that a dead guardian left.
 */
export class StopAndGo {
  readonly #guest: PausableGuest;
  #client: MconsoleClient;
  #state: PauseState = stopSent;
  #stopAsk: Ask | undefined;
  #goAsks: Ask[] = [];
  #stoppedAtMs: number | undefined;
  #resumedAtMs: number | undefined;
  #socketDead = false;
  #cannotAsk = false;
  readonly #formerClients: MconsoleClient[] = [];
  readonly #news = new Doorbell();

  private constructor(guest: PausableGuest, client: MconsoleClient) {
    this.#guest = guest;
    this.#client = client;
  }

  /** @throws the errors of MconsoleClient.open */
  static async open(guest: PausableGuest): Promise<StopAndGo> {
    return new StopAndGo(guest, await MconsoleClient.open(guest.socketPath));
  }

  /**
   * Takes over a pause that another process began and can't end any more.
   * @param stopWasAnswered whether that process is known to have seen the stop's answer
   * @throws the errors of MconsoleClient.open
   */
  static async takeOver(guest: PausableGuest, stopWasAnswered: boolean): Promise<StopAndGo> {
    const taken = await StopAndGo.open(guest);
    if (stopWasAnswered) taken.#state = { ...stopSent, stop: 'stopped' };
    return taken;
  }

  /** Sends one harmless request by the way that `stop` and `go` will take, so that it is not new to us then. */
  async rehearse(waitMs: number): Promise<void> {
    const ask = this.#client.ask('version');
    const timer = setTimeout(() => ask.abandon(), waitMs);
    await ask.answered.finally(() => clearTimeout(timer));
  }

  /** True from a `stop` sent until the pause is known to be over. */
  get isOpen(): boolean {
    return this.#stopAsk !== undefined && pauseOver(this.#state) === undefined;
  }

  /** Sends `stop`, once: a second one could take effect after the `go` for the first. */
  async stop(waitMs: number): Promise<'stopped' | 'refused' | 'unanswered'> {
    this.#state = stopSent;
    this.#stoppedAtMs = undefined;
    this.#resumedAtMs = undefined;
    // Its own, and that of the `go` after it.
    this.#client.bindAhead(2);
    this.#stopAsk = this.#client.ask('stop');
    readStopAnswer(this.#stopAsk.answered).then((answer) => {
      this.#stoppedAtMs = performance.now();
      this.#apply({ type: 'stopAnswered', answer });
    }, this.#onNoAnswer);
    const deadlineMs = performance.now() + waitMs;
    while (this.#state.stop === 'outstanding' && !this.#socketDead && performance.now() < deadlineMs) {
      await this.#news.wait(deadlineMs - performance.now());
    }
    return this.#state.stop === 'outstanding' ? 'unanswered' : this.#state.stop;
  }

  /**
   * Sends `go` until the pause is over. Never gives up: a caller that can't wait races it against a time of its own.
   * @param proveAfterMs from when on a stop whose answer never comes is held to be done if the guest proves it
   */
  async resume(proveAfterMs: number): Promise<PauseResult> {
    const startedMs = performance.now();
    this.#dropUnsentStop();
    if (this.#state.stop === 'refused') return this.#finish(isAlive(this.#guest.main) ? 'notOurs' : 'gone');
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(2 * retryMs, lastRetryMs)) {
      void this.#sendGo();
      await this.#news.wait(retryMs);
      if (!isAlive(this.#guest.main)) this.#apply({ type: 'guestGone' });
      if (this.#socketDead) await this.#reopenOrGiveUp();
      if (this.#cannotAsk) await this.#reopen();
      const waitedMs = performance.now() - startedMs;
      if (
        this.#state.stop === 'outstanding' &&
        waitedMs >= proveAfterMs &&
        (await this.#stopIsProvenDone())
      ) {
        this.#apply({ type: 'stopAnswered', answer: 'stopped' });
      }
      await this.#hearOutEarlierGos();
      const over = pauseOver(this.#state);
      if (over) return this.#finish(over);
    }
  }

  /**
   * An earlier `go` may have resumed the guest with its answer still on the way: before others are said to have done it,
   * that answer has its time, whatever else is answered meanwhile.
   */
  async #hearOutEarlierGos(): Promise<void> {
    const deadlineMs = performance.now() + lastRetryMs;
    while (pauseOver(this.#state) === 'others' && this.#goAsks.length > 0 && performance.now() < deadlineMs) {
      await this.#news.wait(deadlineMs - performance.now());
    }
  }

  close(): void {
    this.#abandonAll();
    for (const client of [this.#client, ...this.#formerClients]) client.close();
  }

  #finish(over: PauseOver): PauseResult {
    this.#abandonAll();
    return { over, pausedMs: over === 'resumed' ? this.#measuredMs() : null };
  }

  #measuredMs(): number | null {
    if (this.#stoppedAtMs === undefined || this.#resumedAtMs === undefined) return null;
    const pausedMs = roundToMicros(this.#resumedAtMs - this.#stoppedAtMs);
    // A `go` may be answered before the stop that it ended is.
    return pausedMs < 0 ? null : pausedMs;
  }

  /** A stop that still waits for room in the guest's queue was never made: taken back, it can't take effect. */
  #dropUnsentStop(): void {
    if (this.#state.stop !== 'outstanding' || !this.#stopAsk || this.#stopAsk.isSent) return;
    this.#stopAsk.abandon();
    this.#apply({ type: 'stopAnswered', answer: 'alreadyStopped' });
  }

  /** @returns its answer, undefined when none came: it is heard, and counts, however late it is */
  #sendGo() {
    const sentAfterStopAnswer = this.#state.stop !== 'outstanding';
    const ask = this.#client.ask('go');
    this.#goAsks.push(ask);
    if (this.#goAsks.length > maxOpenAsks) this.#goAsks.splice(1, 1)[0]?.abandon();
    return readGoAnswer(ask.answered)
      .then((answer) => {
        if (answer === 'resumed') this.#resumedAtMs = performance.now();
        this.#apply({ type: 'goAnswered', answer, sentAfterStopAnswer });
        return answer;
      }, this.#onNoAnswer)
      .finally(() => {
        this.#goAsks = this.#goAsks.filter((open) => open !== ask);
      });
  }

  /**
   * What is no answer changes nothing; that nobody listens any more has to be looked into. Only that MUST ring: a `go` that
   * we gave up for a newer one would wake us to send yet another at once, and those would push out each other's answers.
   */
  readonly #onNoAnswer = (error: unknown): undefined => {
    // Nowhere to bind a socket for the answer: a new client looks for another place.
    if (isError(error, 'StateUnusable')) this.#cannotAsk = true;
    if (!isError(error, 'GuestSocketDead')) return;
    this.#socketDead = true;
    this.#news.ring();
  };

  /**
   * The socket that we pinned is closed. A guest that rebooted has dropped our stop with it; a guest behind a relay
   * that died may stand paused all the same, and answers at the path again when the relay is back.
   */
  async #reopenOrGiveUp(): Promise<void> {
    this.#socketDead = false;
    if (probeStopped(this.#guest.main) !== 'stopped') {
      this.#apply({ type: 'guestGone' });
      return;
    }
    await this.#reopen();
  }

  async #reopen(): Promise<void> {
    this.#cannotAsk = false;
    try {
      const client = await MconsoleClient.open(this.#guest.socketPath);
      // Not closed yet: the answer to `stop` may still come to it.
      this.#formerClients.push(this.#client);
      this.#client = client;
    } catch {
      // Not possible yet: the next `go` fails as this one did, and we look again.
      await sleep(lastRetryMs);
    }
  }

  /**
   * For a stop whose answer is lost (its asker was killed, or the answer was garbled). `proc` passes through the same
   * work queue as `stop`, newest first: when one has been answered, an older stop has run or runs next, and the `go`
   * after that finds the guest stopped or not. Two such rounds apart, both `Not stopped`, leave no stop behind.
   */
  async #stopIsProvenDone(): Promise<boolean> {
    for (let round = 0; round < 2; round++) {
      if (round > 0) await sleep(barrierGapMs);
      if (!(await this.#roundFindsRunning())) return false;
    }
    return true;
  }

  async #roundFindsRunning(): Promise<boolean> {
    try {
      await this.#client.request('proc uptime', { timeoutMs: barrierTimeoutMs });
    } catch {
      // No answer is no proof.
      return false;
    }
    await sleep(barrierGapMs);
    const answer = await Promise.race([this.#sendGo(), sleep(barrierTimeoutMs)]);
    return answer === 'notStopped' && probeStopped(this.#guest.main) !== 'stopped';
  }

  #apply(event: PauseEvent): void {
    this.#state = afterEvent(this.#state, event);
    this.#news.ring();
  }

  #abandonAll(): void {
    this.#stopAsk?.abandon();
    this.#stopAsk = undefined;
    for (const ask of this.#goAsks.splice(0)) ask.abandon();
  }
}

function roundToMicros(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
