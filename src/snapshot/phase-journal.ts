import type { PhaseRecord } from '../history/records.js';

/**
 * The phases of a backup, in their order (design §2). `precopy`, `freeze` and `thaw` have their work where it exists; `fill` comes once
 * for each other store of the guest.
 */
export type Phase =
  | 'preflight'
  | 'precopy'
  | 'sync'
  | 'freeze'
  | 'stop'
  | 'check'
  | 'capture'
  | 'go'
  | 'thaw'
  | 'seal'
  | 'retain'
  | 'fill';

export interface JournalHistory {
  recordPhase(job: string, phase: PhaseRecord): Promise<void>;
}

/** Told of every phase as it begins; MUST NOT do anything slow, the guest may be paused. */
export type OnPhase = (phase: Phase) => void;

/** Told of every phase as it ends; MUST NOT do anything slow, or write, the guest may be paused. */
export type OnPhaseEnded = (phase: PhaseRecord) => void;

/**
 * Times the phases of one job and writes each to the history as it ends. While the guest is paused nothing is written:
 * `enterPaused` only takes the time, and the records follow with the next `enter` after `go`.
 */
export class PhaseJournal {
  readonly records: PhaseRecord[] = [];
  readonly #job: string;
  readonly #history: JournalHistory;
  readonly #onPhase: OnPhase;
  readonly #onEnded: OnPhaseEnded;
  #written = 0;
  #current:
    | { phase: Phase; startedAt: string; startedMs: number; facts: Record<string, unknown> }
    | undefined;

  constructor(job: string, history: JournalHistory, onPhase: OnPhase, onEnded: OnPhaseEnded) {
    this.#job = job;
    this.#history = history;
    this.#onPhase = onPhase;
    this.#onEnded = onEnded;
  }

  /** The phase that the job is in, or was in last. */
  get phase(): Phase {
    return this.#current?.phase ?? (this.records.at(-1)?.phase as Phase | undefined) ?? 'preflight';
  }

  /** Ends the phase before and begins this one. Never while the guest is paused. */
  async enter(phase: Phase): Promise<void> {
    this.enterPaused(phase);
    await this.#write();
  }

  /** As `enter`, without writing; also for a phase that began in the past. @param atMs on the monotonic clock */
  enterPaused(phase: Phase, atMs = performance.now()): void {
    this.#end('done', atMs);
    const startedAt = new Date(Date.now() - (performance.now() - atMs)).toISOString();
    this.#current = { phase, startedAt, startedMs: atMs, facts: {} };
    this.#onPhase(phase);
  }

  /** Adds figures to the phase under way. */
  note(facts: Record<string, unknown>): void {
    if (this.#current) Object.assign(this.#current.facts, facts);
  }

  /** Ends the last phase, with its outcome. */
  async finish(outcome: 'done' | 'failed'): Promise<void> {
    this.#end(outcome);
    await this.#write();
  }

  #end(outcome: PhaseRecord['outcome'], atMs = performance.now()): void {
    if (!this.#current) return;
    const { phase, startedAt, startedMs, facts } = this.#current;
    const durationMs = Math.round((atMs - startedMs) * 1000) / 1000;
    const record: PhaseRecord = { phase, startedAt, durationMs, outcome, facts };
    this.records.push(record);
    this.#current = undefined;
    this.#onEnded(record);
  }

  async #write(): Promise<void> {
    for (; this.#written < this.records.length; this.#written++) {
      const record = this.records[this.#written];
      if (record) await this.#history.recordPhase(this.#job, record);
    }
  }
}
