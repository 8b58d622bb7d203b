import { setTimeout as sleep } from 'node:timers/promises';
import type { ResticStoreConfig } from '../../config/store-config.js';
import { isError } from '../../errors.js';
import { runCommand, streamCommand } from '../../run-command.js';
import type { StorePlace } from '../layout.js';
import { type ResticAccess, resticAccess } from './restic-environment.js';
import { failureOf, nowhereError, storeError } from './restic-failure.js';
import { OutOfPatience, Patience, type PatienceLimits, withPatience } from './restic-patience.js';
import { shownRepository } from './restic-place.js';

export interface ResticRun {
  signal?: AbortSignal | undefined;
  cwd?: string;
  /** Told each line of its output, and says whether anything got on since the last one. */
  onLine?: (line: string) => boolean;
  /** For what may take hours without a word: only tries without success count against it then. */
  mayBeSilent?: boolean;
}

/** A list of ten thousand snapshots has 5 MB. */
const maxOutputBytes = 64 * 1024 * 1024;
const lookAgainMs = 1000;

/** The restic of one repository. Passwords and addresses never stand among its arguments. */
export class ResticProgram {
  readonly place: StorePlace;
  readonly #config: ResticStoreConfig;
  readonly #limits: PatienceLimits;

  constructor(config: ResticStoreConfig, limits: PatienceLimits) {
    this.place = { name: config.name, path: shownRepository(config.repository) };
    this.#config = config;
    this.#limits = limits;
  }

  /**
   * Runs restic to its end. One that finds the repository locked is run again for a while, after the locks of dead processes
   * were removed.
   * @returns its standard output
   * @throws CommandFailed as restic ended (see `named`), OutOfPatience, StoreUnusable (no password), the signal's reason
   */
  async run(args: string[], options: ResticRun = {}): Promise<string> {
    const access = await resticAccess(this.#config, options.signal);
    const untilMs = performance.now() + this.#limits.lockedMs;
    for (let isFirst = true; ; isFirst = false) {
      try {
        return await this.#runOnce(args, access, options);
      } catch (error) {
        if (!isLocked(error) || (!isFirst && performance.now() > untilMs)) throw error;
      }
      await this.#waitForLock(isFirst, access, options.signal);
    }
  }

  /**
   * As `run`, and gives what restic writes as it comes. Where no lock can be made, since the place is full or read-only, it is
   * read without one: what can be restored MUST be.
   * @throws as `run`, with the piece that would come next
   */
  async *stream(args: string[], signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    const access = await resticAccess(this.#config, signal);
    const untilMs = performance.now() + this.#limits.lockedMs;
    let lock: string[] = [];
    for (let isFirst = true; ; isFirst = false) {
      let hasBegun = false;
      try {
        for await (const piece of this.#streamOnce([...args, ...lock], access, signal)) {
          hasBegun = true;
          yield piece;
        }
        return;
      } catch (error) {
        if (hasBegun) throw error;
        if (!cannotLock(error) || lock.length > 0) {
          if (!isLocked(error) || (!isFirst && performance.now() > untilMs)) throw error;
          await this.#waitForLock(isFirst, access, signal);
        } else lock = ['--no-lock'];
      }
    }
  }

  /** Runs `work`, and throws what goes wrong with it as `named`. */
  async naming<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw await this.named(error);
    }
  }

  /** What went wrong, as an error of the store's; all else as it is. */
  async named(error: unknown): Promise<unknown> {
    if (isError(error, 'CommandFailed')) return await storeError(this.place, error);
    return error instanceof OutOfPatience ? await nowhereError(this.place, error) : error;
  }

  /** restic's `unlock` removes the locks of dead processes of this host, and those that nobody has renewed for half an hour. */
  async #waitForLock(isFirst: boolean, access: ResticAccess, signal: AbortSignal | undefined): Promise<void> {
    if (isFirst) await this.#runOnce(['unlock', '--quiet'], access, { signal });
    else await sleep(lookAgainMs, undefined, { signal }).catch(() => {});
    signal?.throwIfAborted();
  }

  async #runOnce(args: string[], access: ResticAccess, options: ResticRun): Promise<string> {
    const { signal, cwd, onLine, mayBeSilent } = options;
    const limits = mayBeSilent ? { ...this.#limits, silenceMs: 2 ** 31 - 1 } : this.#limits;
    return await withPatience(limits, async (patience) => {
      const { stdout } = await runCommand(['restic', ...args], {
        ...access,
        timeoutMs: null,
        cwd,
        maxOutputBytes,
        signal: anyOf(signal, patience.signal),
        onErrorLine: patience.hear,
        onLine: onLine && ((line) => void (onLine(line) && patience.progress())),
      });
      return stdout;
    });
  }

  async *#streamOnce(args: string[], access: ResticAccess, signal: AbortSignal) {
    // Not `withPatience`: a generator can't yield from within it. While nobody reads, restic waits, and that is not its fault.
    const patience = new Patience(this.#limits);
    try {
      const options = { ...access, timeoutMs: null, onErrorLine: patience.hear };
      for await (const piece of streamCommand(['restic', ...args], {
        ...options,
        signal: anyOf(signal, patience.signal),
      })) {
        patience.rest();
        yield piece;
        patience.progress();
      }
    } finally {
      patience.rest();
    }
  }
}

function isLocked(error: unknown): boolean {
  return isError(error, 'CommandFailed') && failureOf(error) === 'locked';
}

function cannotLock(error: unknown): boolean {
  if (error instanceof OutOfPatience) return /<lock\//.test(error.said);
  return (
    isError(error, 'CommandFailed') && !isLocked(error) && /unable to create lock/i.test(error.facts.problem)
  );
}

function anyOf(signal: AbortSignal | undefined, other: AbortSignal): AbortSignal {
  return signal === undefined ? other : AbortSignal.any([signal, other]);
}
