import { setTimeout as sleep } from 'node:timers/promises';
import type { GuestConfig } from '../config/config.js';
import type { SeenState } from './guest-overview.js';

export interface GuestWatchOptions {
  guests(): GuestConfig[];
  /** Looks at one guest, in a bounded time, and never fails for what is wrong with it. */
  look(guest: GuestConfig): Promise<SeenState>;
  /** Whether anybody, in whatever process, is at work on the guest: then it may be paused. */
  isAtWork(guest: string): Promise<boolean>;
  /** Told when a guest is found in another state than before. */
  onChange(guest: string): void;
  /** Told when something could not be looked at that should; must not throw. */
  onError(error: unknown): void;
}

/** Between two rounds of looks, at least; a round that takes long is followed by a longer rest. */
const restMs = 10_000;
const restPerRound = 10;
/** After the last page was asked for. */
const interestMs = 30_000;

/**
 * Looks at the guests, one after the other, as long as somebody looks at a page; whoever looks at the same time sees the same.
 * A guest that somebody works on MUST NOT be asked anything: it may be paused, and one request at a time is all it takes.
 */
export class GuestWatch {
  readonly #options: GuestWatchOptions;
  readonly #seen = new Map<string, SeenState>();
  readonly #closing = new AbortController();
  #wantedUntilMs = 0;
  #rounds: Promise<void> | undefined;
  #firstRound: Promise<void> | undefined;

  constructor(options: GuestWatchOptions) {
    this.#options = options;
  }

  /** null: nobody has looked, or not for long. */
  seen(guest: string): SeenState | null {
    return this.#seen.get(guest) ?? null;
  }

  /** Somebody looks at a page. @returns when every guest has been looked at, for the first time since nobody did */
  want(): Promise<void> {
    this.#wantedUntilMs = performance.now() + interestMs;
    if (!this.#rounds && !this.#closing.signal.aborted) {
      let firstIsDone = () => {};
      this.#firstRound = new Promise((resolve) => {
        firstIsDone = resolve;
      });
      this.#rounds = this.#lookInRounds(firstIsDone).finally(() => {
        firstIsDone();
        this.#rounds = undefined;
        this.#seen.clear();
      });
    }
    return this.#firstRound ?? Promise.resolve();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#rounds;
  }

  async #lookInRounds(firstIsDone: () => void): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted && performance.now() < this.#wantedUntilMs) {
      const startedMs = performance.now();
      for (const guest of this.#options.guests()) {
        if (signal.aborted) return;
        await this.#lookAt(guest);
      }
      firstIsDone();
      const roundMs = performance.now() - startedMs;
      await sleep(Math.max(restMs, restPerRound * roundMs), undefined, { signal, ref: false }).catch(
        () => {},
      );
    }
  }

  async #lookAt(guest: GuestConfig): Promise<void> {
    try {
      if (await this.#options.isAtWork(guest.name)) return;
      const found = await this.#options.look(guest);
      const before = this.#seen.get(guest.name);
      this.#seen.set(guest.name, found);
      if (before?.state !== found.state) this.#options.onChange(guest.name);
    } catch (error) {
      this.#seen.delete(guest.name);
      this.#options.onError(error);
    }
  }
}
