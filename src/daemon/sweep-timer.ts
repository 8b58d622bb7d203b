import type { LiveSettings } from '../control/settings.js';

/**
 * Sweeps every `delay` seconds, as kerneld did with unused modules, and not at all while `keep` is on. A sweep that takes
 * longer than that is not overtaken by another.
 */
export class SweepTimer {
  readonly #settings: LiveSettings;
  readonly #sweep: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | undefined;
  #isStopped = false;

  /** @param sweep reports its own failures */
  constructor(settings: LiveSettings, sweep: () => Promise<void>) {
    this.#settings = settings;
    this.#sweep = sweep;
    settings.watch((now, before) => {
      // A delay counts from when it was set.
      if (now.delaySeconds !== before.delaySeconds || now.keep !== before.keep) this.#wind();
    });
  }

  start(): void {
    this.#wind();
  }

  /** Starts no more, and waits for the one at work. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#sweeping;
  }

  #wind(): void {
    clearTimeout(this.#timer);
    const { keep, delaySeconds } = this.#settings.current;
    if (this.#isStopped || keep) return;
    this.#timer = setTimeout(() => this.#run(), delaySeconds * 1000);
  }

  #run(): void {
    if (this.#sweeping) return;
    this.#sweeping = this.#sweep().finally(() => {
      this.#sweeping = undefined;
      this.#wind();
    });
  }
}
