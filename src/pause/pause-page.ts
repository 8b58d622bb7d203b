import { closeSync, readSync, writeSync } from 'node:fs';
import { memoryFile } from '../image/linux-calls.js';

/**
 * How far a pause is, in a page of memory that the capture process writes and whoever guards it reads: it says so to nobody, and
 * nobody has to be woken for it. The order is the proof: `stopping` MUST stand there before `stop` is sent, and `over` only after a
 * `go` was acknowledged, or when no `stop` of ours can take effect any more.
 */
export type PauseStage =
  /** The guard is set, and `stop` may be sent at any time. */
  | 'guarded'
  /** `stop` may have been sent. */
  | 'stopping'
  | 'stopped'
  /** Somebody else resumes the guest now. */
  | 'takenOver'
  | 'over';

const stages: PauseStage[] = ['over', 'guarded', 'stopping', 'stopped', 'takenOver'];

export interface PageContent {
  stage: PauseStage;
  /** When `stop` was sent and answered, on the host's monotonic clock (`process.hrtime`), in milliseconds; 0: it was not. */
  sentAtMs: number;
  stoppedAtMs: number;
}

/** In the place of `stoppedAtMs`: the guest had been stopped by somebody else. */
export const refusedStop = -1;

/** Stage, when `stop` was sent, when it was answered: doubles in the machine's byte order. */
const pageBytes = 24;
const stoppedAt = 16;

export class PausePage {
  #isClosed = false;
  readonly #content = new Float64Array(pageBytes / 8);

  /** A page of its own, for processes that get its descriptor. To be closed. */
  static make(): PausePage {
    const page = new PausePage(memoryFile('umlsnap-pause'));
    page.write({ stage: 'over', sentAtMs: 0, stoppedAtMs: 0 });
    return page;
  }

  /** @param fd of the page, as whoever made it has handed it over */
  constructor(readonly fd: number) {}

  read(): PageContent {
    const got = readSync(this.fd, this.#content, 0, pageBytes, 0);
    const [stage = 0, sentAtMs = 0, stoppedAtMs = 0] = got === pageBytes ? this.#content : [];
    return { stage: stages[stage] ?? 'over', sentAtMs, stoppedAtMs };
  }

  write({ stage, sentAtMs, stoppedAtMs }: PageContent): void {
    this.#content.set([stages.indexOf(stage), sentAtMs, stoppedAtMs]);
    writeSync(this.fd, this.#content, 0, pageBytes, 0);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.fd);
  }

  /** Changes the stage alone. */
  enter(stage: PauseStage): void {
    writeSync(this.fd, new Float64Array([stages.indexOf(stage)]), 0, 8, 0);
  }

  /** For a pause that was taken over: whoever did it waits for the answer to `stop` as well. */
  noteStopped(atMs: number): void {
    writeSync(this.fd, new Float64Array([atMs]), 0, 8, stoppedAt);
  }
}

/** The host's monotonic clock: all processes have the same. */
export function hostClockMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** As the history has it. */
export function roundToMicros(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
