import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Config, GuestConfig } from '../config/config.js';
import { type Answer, answerOf } from '../control/request.js';
import { errorObject, type RequestDispatcher } from '../control/request-dispatcher.js';
import { explainError } from '../error-text.js';
import { exitCodeOf } from '../exit-codes.js';
import { EventRecorder } from '../guest/event-recorder.js';
import { notifyOwnerOf } from '../guest/guest-user.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import type { Notification } from '../mconsole/notification.js';
import { listenerLock, type NotificationSource, NotifyListener } from '../mconsole/notify-listener.js';
import { GuestGate } from './guest-gate.js';
import { replyToGuest } from './guest-reply.js';
import { ReportedConsolePaths } from './reported-console-paths.js';

export interface GuestListenersOptions {
  dispatcher: RequestDispatcher;
  history: Pick<SqliteHistory, 'recordEvent' | 'events'>;
  log: Logger;
  config(): Config;
}

interface GuestListener {
  socketPath: string;
  abort: AbortController;
  ended: Promise<void>;
  /** Once we listen, or have failed to for the first time. */
  tried: Promise<void>;
  source?: NotificationSource;
}

const listenAgainMs = 5000;
const lookAgainMs = 10_000;

/** A daemon's listeners to what guests say and ask: one for each guest of the config. */
export class GuestListeners {
  readonly #options: GuestListenersOptions;
  readonly #listeners = new Map<string, GuestListener>();
  readonly #reportedConsoles: ReportedConsolePaths;

  readonly #followed: Promise<void>;
  #hasFollowed = () => {};

  constructor(options: GuestListenersOptions) {
    this.#options = options;
    this.#reportedConsoles = new ReportedConsolePaths(options.history);
    this.#followed = new Promise((resolve) => {
      this.#hasFollowed = resolve;
    });
  }

  /** Listens to the guests of the config; also after it was read again. */
  async follow(): Promise<void> {
    await this.#followConfig().finally(this.#hasFollowed);
  }

  async #followConfig(): Promise<void> {
    const wanted = Object.values(this.#options.config().guests);
    for (const { name } of wanted) await this.#reportedConsoles.recall(name);
    for (const [guest, guestListener] of this.#listeners) {
      if (!wanted.some(({ name, notify }) => name === guest && notify === guestListener.socketPath))
        this.#drop(guest);
    }
    for (const config of wanted) if (!this.#listeners.has(config.name)) this.#open(config);
  }

  /**
   * Whoever works on this guest hears its agent by us. A daemon that has just begun may have a job at once: it MUST wait until
   * we have tried to listen, or would find the socket taken by ourselves.
   */
  async sourceOf(guest: string): Promise<NotificationSource | undefined> {
    await this.#followed;
    const guestListener = this.#listeners.get(guest);
    await guestListener?.tried;
    return guestListener?.source;
  }

  /** The config with what its guests have said of themselves. */
  informed(config: Config): Config {
    return this.#reportedConsoles.informed(config);
  }

  async close(): Promise<void> {
    const listeners = [...this.#listeners.values()];
    for (const guest of [...this.#listeners.keys()]) this.#drop(guest);
    await Promise.all(listeners.map(({ ended }) => ended));
  }

  #drop(guest: string): void {
    this.#listeners.get(guest)?.abort.abort();
    this.#listeners.delete(guest);
  }

  #open(config: GuestConfig): void {
    const abort = new AbortController();
    const untilThen = { ended: Promise.resolve(), tried: Promise.resolve() };
    const guestListener: GuestListener = { socketPath: config.notify, abort, ...untilThen };
    this.#listeners.set(config.name, guestListener);
    guestListener.tried = new Promise((hasTried) => {
      guestListener.ended = this.#listen(config, guestListener, hasTried).finally(hasTried);
    });
  }

  /** A command that works alone may hold the socket for as long as its job takes: it is tried again until it is ours. */
  async #listen(config: GuestConfig, guestListener: GuestListener, hasTried: () => void): Promise<void> {
    const { signal } = guestListener.abort;
    const { log } = this.#options;
    for (let told = ''; !signal.aborted; ) {
      try {
        const guestUid = notifyOwnerOf(config) ?? ownerOf(config);
        const holder = `umlsnap daemon (pid ${process.pid})`;
        const lock = listenerLock(this.#options.config().state, config.notify);
        const options = {
          socketPath: config.notify,
          lock,
          holder,
          ...(guestUid !== undefined && { guestUid }),
        };
        await NotifyListener.listenWhile(options, (listener) => {
          const heard = this.#receive(config.name, guestListener, listener);
          hasTried();
          return heard;
        });
      } catch (error) {
        hasTried();
        const text = explainError(error);
        if (text !== told) log.warn({ guest: config.name }, `can't hear it yet: ${text}`);
        told = text;
        await sleep(listenAgainMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  async #receive(guest: string, guestListener: GuestListener, listener: NotifyListener): Promise<void> {
    const { signal } = guestListener.abort;
    const { log, history } = this.#options;
    const recorder = new EventRecorder(guest, history, (error) =>
      log.error({ guest }, `what the guest said is not in the history: ${explainError(error)}`),
    );
    const gate = new GuestGate(guest, performance.now());
    let told = { ...listener.dropped };
    const tellDrops = () => {
      const { malformed, tooLarge } = listener.dropped;
      const datagrams = {
        malformedDatagrams: malformed - told.malformed,
        tooLargeDatagrams: tooLarge - told.tooLarge,
      };
      const hasMore = datagrams.malformedDatagrams + datagrams.tooLargeDatagrams > 0;
      const drops = gate.dropsToTell(performance.now(), hasMore);
      if (!drops) return;
      told = { ...listener.dropped };
      log.warn({ guest, ...drops, ...datagrams }, 'requests of the guest were dropped');
    };
    guestListener.source = listener;
    listener.subscribe((notification) => {
      const isKept = recorder.take(notification);
      if (notification.type === 'message') this.#take(guest, gate, notification.text, signal);
      else this.#note(guest, notification, isKept);
      tellDrops();
    });
    log.debug({ guest, socketPath: listener.socketPath }, 'listening to the guest');
    while (!signal.aborted && listener.isInPlace()) {
      await sleep(lookAgainMs, undefined, { signal }).catch(() => {});
      tellDrops();
    }
    if (!signal.aborted) log.warn({ guest }, 'the socket that it notifies was removed, and is made anew');
    delete guestListener.source;
    await recorder.settled();
  }

  /** @param isKept what comes too fast for the history is too much for the log, and for syslog, as well */
  #note(guest: string, notification: Exclude<Notification, { type: 'message' }>, isKept: boolean): void {
    const { log } = this.#options;
    if (notification.type !== 'booted') {
      if (!isKept) return;
      log.error({ guest, text: notification.text }, `the guest says: ${notification.type}`);
      return;
    }
    const { socketPath } = notification;
    this.#reportedConsoles.record(guest, socketPath);
    if (isKept) log.info({ guest, socketPath }, 'the guest booted');
  }

  #take(guest: string, gate: GuestGate, text: string, signal: AbortSignal): void {
    const allowed = this.#options.config().guests[guest]?.requests ?? [];
    const decision = gate.take(text, allowed, performance.now());
    if (decision.does === 'ask')
      void this.#options.dispatcher
        .take(decision.request)
        .then((answer) => this.#reply(guest, answer, signal));
    if (decision.does !== 'refuse') return;
    const { id, because } = decision;
    void this.#reply(guest, answerOf(id, exitCodeOf(because.code), [errorObject(because)]), signal);
  }

  /** One that can't be reached has lost its answer, and nothing else. */
  async #reply(guest: string, answer: Answer, signal: AbortSignal): Promise<void> {
    if (answer.id === 0) return;
    try {
      await replyToGuest(this.informed(this.#options.config()), guest, answer, signal);
    } catch (error) {
      if (signal.aborted) return;
      // Whatever it was: nobody waits for this, and no guest may end the daemon by where it says that its console is.
      this.#options.log.warn({ guest, id: answer.id }, `the guest was not told: ${explainError(error)}`);
    }
  }
}

/** Whoever has its disk runs it; a guest that is not up yet has no process to ask. */
function ownerOf({ disks: [disk] }: GuestConfig): number | undefined {
  return disk && statSync(disk.path, { throwIfNoEntry: false })?.uid;
}
