import { userInfo } from 'node:os';
import { formatFigures, formatMs } from '../config/format-figure.js';
import type {
  GuestEvent,
  JobEnd,
  JobFailure,
  JobLogLine,
  JobStart,
  PhaseRecord,
  Trigger,
} from '../history/records.js';
import { printableLine } from '../mconsole/printable.js';

const maxLines = 500;
const maxChars = 1000;
/** Of a log that grew too long: its begin and its end tell more than its middle. */
const keptFirst = maxLines / 2;

interface Entry {
  atMs: number;
  level: JobLogLine['level'];
  /** Put into words only when the job has ended. */
  text: string | (() => string);
}

/**
 * Collects what a person wants to read of a job afterwards. It is in memory only, so that it may be told of anything at any
 * time: while a guest is paused nothing MUST be written. Whoever ends the job in the history writes its lines with that.
 */
export class JobLog {
  readonly #entries: Entry[] = [];
  readonly #told = new Set<string>();
  #leftOut = 0;

  info(text: string): void {
    this.#add('info', text);
  }

  warn(text: string): void {
    this.#add('warn', text);
  }

  began({ kind, guest, trigger, pid }: JobStart): void {
    this.info(`${kind}${guest === null ? '' : ` of ${guest}`} began, ${byWhom(trigger)} (process ${pid})`);
  }

  /** Costs next to nothing: the guest may be paused. */
  phaseEnded({ phase, outcome, durationMs, facts }: PhaseRecord): void {
    this.#add(outcome === 'done' ? 'info' : 'warn', () =>
      `${phase}: ${outcome} after ${formatMs(durationMs)} ${formatFigures(facts)}`.trimEnd(),
    );
  }

  guestSaid({ type, text, missed }: GuestEvent): void {
    const more = missed === 0 ? '' : ` (and ${missed} more right before, too fast to be kept)`;
    this.#add(type === 'panic' || type === 'hang' ? 'warn' : 'info', `guest, ${type}: ${text}${more}`);
  }

  /** Tells those of a job's warnings that it has not told yet. */
  warnings(warnings: readonly string[]): void {
    for (const warning of warnings) {
      if (!this.#told.has(warning)) this.warn(warning);
      this.#told.add(warning);
    }
  }

  ended(status: JobEnd['status'], durationMs: number, error: JobFailure | null): void {
    if (error) this.#add('error', `${error.code} in ${error.phase}: ${error.message}`);
    this.#add(levelOfEnd[status], `ended after ${formatMs(durationMs)}: ${status}`);
  }

  /** Printable and bounded, whatever was told. */
  lines(): JobLogLine[] {
    const lines = this.#entries.map(({ atMs, level, text }) => ({
      at: new Date(atMs).toISOString(),
      level,
      text: short(printableLine(typeof text === 'string' ? text : text())),
    }));
    const next = lines[keptFirst];
    if (this.#leftOut > 0 && next)
      lines.splice(keptFirst, 0, { at: next.at, level: 'warn', text: `lines left out: ${this.#leftOut}` });
    return lines;
  }

  #add(level: JobLogLine['level'], text: Entry['text']): void {
    this.#entries.push({ atMs: Date.now(), level, text });
    // One less, for the line that tells of it.
    if (this.#entries.length < maxLines) return;
    this.#entries.splice(keptFirst, 1);
    this.#leftOut += 1;
  }
}

const levelOfEnd: Record<JobEnd['status'], JobLogLine['level']> = {
  ...{ success: 'info', warning: 'warn', skipped: 'warn', failed: 'error', interrupted: 'error' },
};

const short = (text: string): string => (text.length <= maxChars ? text : `${text.slice(0, maxChars - 1)}…`);

const whyTheDaemon: Record<Exclude<Trigger, 'manual'>, string> = {
  schedule: 'as scheduled',
  catchUp: 'to catch up with its schedule',
  request: 'by request',
  sweep: 'to look for what has expired',
};

function byWhom(trigger: Trigger): string {
  return trigger === 'manual' ? `by a command of ${userName()}` : `by the daemon, ${whyTheDaemon[trigger]}`;
}

function userName(): string {
  const { SUDO_USER: behind } = process.env;
  try {
    const { username } = userInfo();
    return behind === undefined ? username : `${behind}, as ${username}`;
  } catch {
    // It has no entry in the table of users.
    return `user ${process.getuid?.()}`;
  }
}
