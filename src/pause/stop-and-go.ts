import { setTimeout as sleep } from 'node:timers/promises';
import { isError } from '../errors.js';
import { probeStopped, type StopSign } from '../guest/stop-probe.js';
import { readGoAnswer, readStopAnswer } from '../mconsole/commands.js';
import type { Ask, MconsoleClient } from '../mconsole/mconsole-client.js';
import { isAlive, isHeld, type ProcessIdentity } from '../process-identity.js';
import { Doorbell } from './doorbell.js';
import { PauseClients } from './pause-clients.js';
import {
  afterEvent,
  type PauseEvent,
  type PauseOver,
  type PauseState,
  pauseOver,
  stopSent,
  wantsNewClient,
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
/** With one more of them for a moment, the question of a proof, a new client and the walk to its socket, and a look into /proc. */
const reservedDescriptors = maxOpenAsks + 6;
const barrierTimeoutMs = 250;
const barrierGapMs = 50;

/**
 * One pause of one guest: sends `stop`, and `go` until the rule of `resume-rule.ts` says that it is over. Used by the
 * guardian; and, without a stop of its own, by whoever resumes a guest that a dead guardian left.
 */
export class StopAndGo {
  readonly #guest: PausableGuest;
  readonly #clients: PauseClients;
  #state: PauseState = stopSent;
  #stopAsk: Ask | undefined;
  #goAsks: Ask[] = [];
  #stoppedAtMs: number | undefined;
  #resumedAtMs: number | undefined;
  readonly #news = new Doorbell();

  private constructor(guest: PausableGuest, clients: PauseClients) {
    this.#guest = guest;
    this.#clients = clients;
  }

  /** @throws the errors of MconsoleClient.open; EMFILE, ENFILE where there are too few descriptors for all that may be needed */
  static async open(guest: PausableGuest): Promise<StopAndGo> {
    const opened = await StopAndGo.takeOver(guest, false);
    opened.#clients.reserve(reservedDescriptors);
    return opened;
  }

  /**
   * Takes over a pause that another process began and can't end any more.
   * @param stopWasAnswered whether that process is known to have seen the stop's answer
   * @throws the errors of MconsoleClient.open
   */
  static async takeOver(guest: PausableGuest, stopWasAnswered: boolean): Promise<StopAndGo> {
    const taken = new StopAndGo(guest, await PauseClients.open(guest.socketPath));
    if (stopWasAnswered) taken.#state = { ...stopSent, stop: 'stopped' };
    return taken;
  }

  /** Sends one harmless request by the way that `stop` and `go` will take, so that it is not new to us then. */
  async rehearse(waitMs: number): Promise<void> {
    const ask = this.#clients.current.ask('version');
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
    const client = this.#clients.current;
    client.bindAhead(2);
    this.#stopAsk = client.ask('stop');
    readStopAnswer(this.#stopAsk.answered).then((answer) => {
      this.#stoppedAtMs = performance.now();
      this.#apply({ type: 'stopAnswered', answer });
    }, this.#noAnswerTo(client));
    const deadlineMs = performance.now() + waitMs;
    const isAwaited = () => this.#state.stop === 'outstanding' && this.#state.way === 'open';
    while (isAwaited() && performance.now() < deadlineMs) {
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
      if (this.#state.way === 'open') void this.#sendGo();
      await this.#untilNextGo(retryMs);
      if (!isAlive(this.#guest.main)) this.#apply({ type: 'guestGone' });
      await this.#mendWay();
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
      // Not before: the socket of the first `go` was bound before the stop.
      this.#clients.useReserve();
    }
  }

  /**
   * Each `go`, and each look at a dead socket, has its time: only the stop's own answer, after which the next `go` counts, and
   * the end of the pause cut it short. Whatever else rings MUST NOT, or a dead socket or a quick answer would have us spin.
   */
  async #untilNextGo(retryMs: number): Promise<void> {
    const { stop } = this.#state;
    const deadlineMs = performance.now() + retryMs;
    const isQuiet = () => this.#state.stop === stop && pauseOver(this.#state) === undefined;
    while (isQuiet() && performance.now() < deadlineMs) {
      await this.#news.wait(deadlineMs - performance.now());
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
    this.#clients.close();
  }

  #finish(over: PauseOver): PauseResult {
    this.#abandonAll();
    this.#clients.startAnew();
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
    const client = this.#clients.current;
    const ask = client.ask('go');
    this.#goAsks.push(ask);
    if (this.#goAsks.length > maxOpenAsks) this.#goAsks.splice(1, 1)[0]?.abandon();
    return readGoAnswer(ask.answered)
      .then((answer) => {
        if (answer === 'resumed') this.#resumedAtMs = performance.now();
        this.#apply({ type: 'goAnswered', answer, sentAfterStopAnswer });
        return answer;
      }, this.#noAnswerTo(client))
      .finally(() => {
        this.#goAsks = this.#goAsks.filter((open) => open !== ask);
      });
  }

  /** What is no answer changes nothing, unless it says that there is no way to the guest by the client that is asked now. */
  #noAnswerTo(client: MconsoleClient): (error: unknown) => undefined {
    return (error) => {
      if (client !== this.#clients.current) return;
      if (isError(error, 'StateUnusable')) this.#apply({ type: 'noPlaceForAnswers' });
      if (isError(error, 'GuestSocketDead')) this.#apply({ type: 'socketDead' });
    };
  }

  /** One look, or one try: the pace is that of the `go`s. */
  async #mendWay(): Promise<void> {
    const { way } = this.#state;
    if (way === 'open' || pauseOver(this.#state)) return;
    if (way === 'dead') {
      this.#clients.dropOther();
      this.#apply({ type: 'looked', sign: this.#look() });
    }
    if (!wantsNewClient(this.#state)) return;
    const isRenewed = await this.#clients.renew();
    // Where there was no place for answers, there may be one again by now.
    if (isRenewed || way === 'noPlaceForAnswers') this.#apply({ type: 'wayToTry' });
  }

  #look(): StopSign {
    try {
      // One that is held by a signal or a debugger sleeps in neither way.
      return isHeld(this.#guest.main) ? 'unknown' : probeStopped(this.#guest.main);
    } catch {
      return 'unknown';
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
      await this.#clients.current.request('proc uptime', { timeoutMs: barrierTimeoutMs });
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
