import { emit, type Output, printProgress } from '../output.js';
import { formatBytes } from './format.js';
import { ProgressPace } from './progress-pace.js';

/** How far a job is, whoever does it: the phase that it is in, and how much of its bytes are done. */
export interface ShownProgress {
  guest: string;
  phase: string;
  /** Which store it is about, where it is about one. */
  store?: string;
  doneBytes?: number;
  totalBytes?: number;
}

const barWidth = 20;

/** Shows progress: as it is to programs, and on a terminal as a line that grows. */
export class ProgressLine {
  readonly #output: Output;
  readonly #pace = new ProgressPace();
  /** What the line that may be written over is about. */
  #lineOf: string | null = null;

  constructor(output: Output) {
    this.#output = output;
  }

  readonly show = (progress: ShownProgress): void => {
    emit(this.#output, progress);
    if (!process.stderr.isTTY || this.#output.json || this.#output.quiet) return;
    const { guest, phase, store, doneBytes, totalBytes } = progress;
    const about = `${guest}: ${phase}${store === undefined ? '' : ` ${store}`}`;
    // Over the line before: a terminal is no log.
    const isOver = this.#lineOf === about;
    this.#lineOf = about;
    const isCounted = doneBytes !== undefined && totalBytes !== undefined;
    printProgress(isCounted ? `${about} ${this.#bar(about, doneBytes, totalBytes)}` : about, isOver);
  };

  #bar(about: string, doneBytes: number, totalBytes: number): string {
    const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
    const full = Math.floor(share * barWidth);
    const bar = `[${'#'.repeat(full)}${'-'.repeat(barWidth - full)}] ${Math.floor(share * 100)}%`;
    const done = `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
    const { bytesPerSecond, leftMs } = this.#pace.of(about, doneBytes, totalBytes, performance.now());
    if (bytesPerSecond === null) return `${bar}, ${done}`;
    const left = leftMs === null ? '' : `, ${timeLeft(leftMs)} left`;
    return `${bar}, ${done}, ${formatBytes(Math.round(bytesPerSecond))}/s${left}`;
  }
}

/** `45 s`, `3 min`, `5 h` */
function timeLeft(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 100) return `${seconds} s`;
  return seconds < 100 * 60 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
