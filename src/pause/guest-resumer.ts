import { setTimeout as sleep } from 'node:timers/promises';
import { isError } from '../errors.js';
import { probeStopped, type StopSign } from '../guest/stop-probe.js';
import { readGoAnswer } from '../mconsole/commands.js';
import type { Ask, MconsoleClient } from '../mconsole/mconsole-client.js';
import { isAlive, isHeld, type ProcessIdentity } from '../process-identity.js';
import { PauseClients } from './pause-clients.js';
import { hostClockMs, refusedStop, roundToMicros } from './pause-page.js';
import {
  afterEvent,
  type PauseEvent,
  type PauseOver,
  type PauseState,
  pauseOver,
  stopSent,
  wantsNewClient,
} from './resume-rule.js';
import { WakeSignal } from './wake-signal.js';

export interface PausableGuest {
  socketPath: string;
  /** The process that runs the guest's kernel. */
  main: ProcessIdentity;
}

/** What whoever takes over knows of the `stop` of a process that can't end its pause. */
export interface StopToEnd {
  /** When its answer was seen, on the host's clock, or `refusedStop`; null: not yet. Asked again and again. */
  stoppedAtMs(): number | null;
  /** Whether its answer can't come any more: then the guest may be asked for proof that it is done. */
  mayProve(waitedMs: number): boolean;
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
 * Ends a pause in the place of the process that began it: sends `go` until the rule of `resume-rule.ts` says that it is over. Used by
 * the guardian; by the orchestrator, when the guardian is dead too; and by `recover`, when all of them are.
 */
export class GuestResumer {
  readonly #guest: PausableGuest;
  readonly #clients: PauseClients;
  #state: PauseState = stopSent;
  #goAsks: Ask[] = [];
  #resumedAtMs: number | undefined;
  readonly #news = new WakeSignal();

  private constructor(guest: PausableGuest, clients: PauseClients) {
    this.#guest = guest;
    this.#clients = clients;
  }

  /** @throws the errors of MconsoleClient.open */
  static async open(guest: PausableGuest): Promise<GuestResumer> {
    return new GuestResumer(guest, await PauseClients.open(guest.socketPath));
  }

  /** Takes the descriptors that a resume may need. @throws EMFILE, ENFILE: then the guest MUST NOT be stopped */
  reserve(): void {
    this.#clients.reserve(reservedDescriptors);
  }

  /** Sends one harmless request by the way that `go` would take, so that it is not new to us then. */
  async warmUp(waitMs: number): Promise<void> {
    const ask = this.#clients.current.ask('version');
    const timer = setTimeout(() => ask.abandon(), waitMs);
    await ask.answered.finally(() => clearTimeout(timer));
  }

  /**
   * Sends `go` until the pause is over. Never gives up: a caller that can't wait races it against a time of its own.
   */
  async resume(stop: StopToEnd): Promise<PauseResult> {
    const startedMs = performance.now();
    this.#state = stopSent;
    this.#resumedAtMs = undefined;
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(2 * retryMs, lastRetryMs)) {
      this.#hearOfStop(stop);
      if (this.#state.way === 'open') void this.#sendGo();
      await this.#untilNextGo(retryMs, stop);
      if (!isAlive(this.#guest.main)) this.#apply({ type: 'guestGone' });
      await this.#mendWay();
      const isOutstanding = this.#state.stop === 'outstanding';
      if (isOutstanding && stop.mayProve(performance.now() - startedMs) && (await this.#stopIsProvenDone())) {
        this.#apply({ type: 'stopAnswered', answer: 'stopped' });
      }
      await this.#hearOutEarlierGos();
      const over = pauseOver(this.#state);
      if (over) return this.#finish(over, stop);
      // Not before: the first `go` needs none of it.
      this.#clients.useReserve();
    }
  }

  #hearOfStop(stop: StopToEnd): void {
    const stoppedAtMs = this.#state.stop === 'outstanding' ? stop.stoppedAtMs() : null;
    if (stoppedAtMs === null) return;
    const answer = stoppedAtMs === refusedStop ? 'alreadyStopped' : 'stopped';
    this.#apply({ type: 'stopAnswered', answer });
  }

  /**
   * Each `go`, and each look at a dead socket, has its time: only the stop's own answer, after which the next `go` counts, and
   * the end of the pause cut it short. Whatever else rings MUST NOT, or a dead socket or a quick answer would have us spin.
   */
  async #untilNextGo(retryMs: number, toEnd: StopToEnd): Promise<void> {
    const { stop } = this.#state;
    const deadlineMs = performance.now() + retryMs;
    const isQuiet = () => this.#state.stop === stop && pauseOver(this.#state) === undefined;
    while (isQuiet() && performance.now() < deadlineMs) {
      await this.#news.wait(Math.min(deadlineMs - performance.now(), firstRetryMs));
      this.#hearOfStop(toEnd);
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

  #finish(over: PauseOver, stop: StopToEnd): PauseResult {
    this.#abandonAll();
    this.#clients.startAnew();
    const stoppedAtMs = stop.stoppedAtMs();
    if (over !== 'resumed' || stoppedAtMs === null || this.#resumedAtMs === undefined)
      return { over, pausedMs: null };
    // A `go` may be answered before the stop that it ended is.
    const pausedMs = roundToMicros(this.#resumedAtMs - stoppedAtMs);
    return { over, pausedMs: pausedMs < 0 ? null : pausedMs };
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
        if (answer === 'resumed') this.#resumedAtMs = hostClockMs();
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
    this.#news.notify();
  }

  #abandonAll(): void {
    for (const ask of this.#goAsks.splice(0)) ask.abandon();
  }
}
