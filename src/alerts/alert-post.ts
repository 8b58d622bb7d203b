import { setTimeout as sleep } from 'node:timers/promises';
import type { AlertConfig } from '../config/alert-config.js';
import { asUmlsnapError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import type { Alert } from './alert.js';
import { type PingEvent, sendAlert, sendPing } from './send-alert.js';

export interface AlertPostOptions {
  /** As they are in force now. */
  ways(): readonly AlertConfig[];
  /** Told what could not be sent, after the last try. */
  report(error: UmlsnapError): void;
  /** Before each further try. */
  retryAfterMs?: readonly number[];
}

/** More at once than anybody wants to read: an alert that can't be sent MUST NOT pile up. */
const maxWaiting = 100;

/** Sends alerts beside the work that they tell of, which never waits for them: each way for itself, with further tries. */
export class AlertPost {
  readonly #options: Required<AlertPostOptions>;
  readonly #ending = new AbortController();
  readonly #waiting = new Set<Promise<void>>();

  constructor(options: AlertPostOptions) {
    this.#options = { retryAfterMs: [10_000, 60_000, 300_000], ...options };
  }

  /** Tells everybody who wants to hear of this kind. */
  send(alert: Alert): void {
    for (const way of this.#options.ways()) {
      if (way.by !== 'ping' && way.on.includes(alert.kind))
        this.#post((signal) => sendAlert(way, alert, signal));
    }
  }

  /** For dead man's switches: that a scheduled backup begins, or how it has ended. */
  ping(event: PingEvent, text: string): void {
    for (const way of this.#options.ways()) {
      if (way.by === 'ping') this.#post((signal) => sendPing(way.address, event, text, signal));
    }
  }

  /** Waits for what is under way, and gives it up after that. */
  async close(limitMs: number): Promise<void> {
    const timer = setTimeout(() => this.#ending.abort(), limitMs);
    await Promise.all(this.#waiting);
    clearTimeout(timer);
  }

  #post(send: (signal: AbortSignal) => Promise<void>): void {
    if (this.#waiting.size >= maxWaiting) {
      const facts = { by: 'post', to: 'anybody', problem: `${maxWaiting} alerts wait to be sent already` };
      this.#options.report(new UmlsnapError('AlertFailed', facts));
      return;
    }
    const posted = this.#untilSent(send).finally(() => this.#waiting.delete(posted));
    this.#waiting.add(posted);
  }

  async #untilSent(send: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#ending;
    let failure: UmlsnapError | undefined;
    for (const waitMs of [0, ...this.#options.retryAfterMs]) {
      try {
        if (waitMs > 0) await sleep(waitMs, undefined, { signal });
        await send(signal);
        return;
      } catch (error) {
        failure = signal.aborted ? givenUp() : asUmlsnapError(error);
        if (signal.aborted) break;
      }
    }
    if (failure) this.#options.report(failure);
  }
}

function givenUp(): UmlsnapError {
  return new UmlsnapError('AlertFailed', {
    by: 'post',
    to: 'anybody',
    problem: 'umlsnap has ended before it could be sent',
  });
}
