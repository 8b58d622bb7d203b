import { problemOf } from '../../errors.js';
import type { TrackerFacts, WriteTracker } from './write-tracker.js';

const everyMs = 2;

/** Has a tracker follow the guest's writes, so that no buffer of the kernel's fills, and keeps its first doubt. */
export class Follower {
  #doubt: string | null = null;
  readonly #tracker: WriteTracker;
  readonly #timer: NodeJS.Timeout;

  constructor(tracker: WriteTracker) {
    this.#tracker = tracker;
    this.#timer = setInterval(() => this.follow(), everyMs);
  }

  get facts(): TrackerFacts {
    return this.#tracker.facts;
  }

  /** @returns why the tracker can't be trusted; null as long as it can */
  follow(): string | null {
    return this.#step(() => this.#tracker.follow());
  }

  settle(): string | null {
    return this.#step(() => this.#tracker.settle());
  }

  prove(): string | null {
    return this.#step(() => this.#tracker.prove());
  }

  close(): void {
    clearInterval(this.#timer);
    this.#tracker.close();
  }

  /** A tracker that fails is one that can't be trusted. */
  #step(step: () => string | null): string | null {
    if (this.#doubt !== null) return this.#doubt;
    try {
      this.#doubt = step();
    } catch (error) {
      this.#doubt = `following the guest's writes failed: ${problemOf(error)}`;
    }
    if (this.#doubt !== null) clearInterval(this.#timer);
    return this.#doubt;
  }
}
