/**
 * How long we wait for a restic that gets nowhere. By itself it tries for a quarter of an hour to reach a place that is down, or to
 * load a piece of data that is gone, and for ever where a place does not answer at all.
 */
export interface PatienceLimits {
  /** While it says that it tries again. */
  retryingMs: number;
  /** While it says nothing, and nothing gets on: a slow line may take its time for one piece. */
  silenceMs: number;
  /** Until a lock of somebody else's is gone. */
  lockedMs: number;
}

export const defaultPatience: PatienceLimits = { retryingMs: 120_000, silenceMs: 900_000, lockedMs: 300_000 };

/** Why a restic was ended that got nowhere. */
export class OutOfPatience extends Error {
  /** In restic's own words where it had any. */
  readonly said: string;
  readonly wasSilent: boolean;

  constructor(retry: string | undefined, patienceMs: number) {
    const said = retry ?? `nothing got on for ${patienceMs / 1000} s`;
    super(said);
    this.said = said;
    this.wasSilent = retry === undefined;
  }
}

/** Runs `use` with a signal that aborts, with `OutOfPatience`, when nothing has got on for too long. */
export async function withPatience<T>(
  limits: PatienceLimits,
  use: (patience: Patience) => Promise<T>,
): Promise<T> {
  const patience = new Patience(limits);
  try {
    return await use(patience);
  } finally {
    patience.rest();
  }
}

export class Patience {
  readonly #limits: PatienceLimits;
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #retry: string | undefined;

  constructor(limits: PatienceLimits) {
    this.#limits = limits;
    this.progress();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something got on. */
  readonly progress = (): void => {
    this.#retry = undefined;
    this.#restart(this.#limits.silenceMs);
  };

  /** A line of restic's standard error. */
  readonly hear = (line: string): void => {
    if (!/returned error, retrying after/.test(line)) return;
    const isFirst = this.#retry === undefined;
    this.#retry = line.trim().slice(0, 500);
    if (isFirst && this.#timer !== undefined) this.#restart(this.#limits.retryingMs);
  };

  /** It is not restic that we wait for, until the next progress. */
  readonly rest = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  };

  #restart(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#controller.abort(new OutOfPatience(this.#retry, ms));
    }, ms);
  }
}
