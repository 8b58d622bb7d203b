import { fstatSync } from 'node:fs';
import { formatMs } from '../config/format-figure.js';
import { formatSize } from '../config/size.js';
import { printable } from '../mconsole/printable.js';
import { oneLine } from '../output.js';

/** The daemon's log for people: a line for each job that says what came of it, and of all else what is said and its facts. */

/** A line of pino's. */
export type LogEntry = Record<string, unknown> & { level: number; time: string; msg: string };

/** As sd-daemon(3) has it, by pino's levels. */
const priorities: [level: number, priority: number][] = [
  [60, 2],
  [50, 3],
  [40, 4],
  [30, 6],
  [0, 7],
];

/** Whether what is written to stderr goes to the journal, by systemd's own word (systemd.exec(5)). */
export function isJournal(env: NodeJS.ProcessEnv = process.env, fd = 2): boolean {
  const { dev, ino } = fstatSync(fd);
  return env.JOURNAL_STREAM === `${dev}:${ino}`;
}

/**
 * An entry for the journal, which keeps the time itself, with its level before each line of the text: further lines are indented, so that none
 * passes for an entry of its own.
 */
export function journalLines(entry: LogEntry): string {
  const priority = priorities.find(([level]) => entry.level >= level)?.[1] ?? 6;
  return `<${priority}>${printable(humanLine(entry)).replaceAll('\n', `\n<${priority}>  `)}\n`;
}

/** What an entry says, in one line unless its message has more. */
export function humanLine({ level: _, time: __, msg, ...facts }: LogEntry): string {
  if (typeof facts.job === 'string' && typeof facts.durationMs === 'number') return lineOfJob(msg, facts);
  const shown = Object.entries(facts).filter(([, value]) => isPlain(value));
  return [msg, ...shown.map(([key, value]) => `${key}=${oneLine(String(value))}`)].join(' ');
}

/** `debian: backup done, synced, pause 6.3 ms, 64MiB, in 1.5 s, 20261121T031500Z-7f3a2c` */
function lineOfJob(msg: string, facts: Record<string, unknown>): string {
  const { guest, job, consistency, pausedMs, sizeBytes, durationMs, error, warnings } = facts;
  const message = (error as { message?: unknown } | null)?.message;
  const said = [
    `${guest === null ? '' : `${guest}: `}${msg}`,
    ...(typeof consistency === 'string' ? [consistency] : []),
    ...(typeof pausedMs === 'number' ? [`pause ${formatMs(pausedMs)}`] : []),
    ...(typeof sizeBytes === 'number' ? [formatSize(sizeBytes)] : []),
    `in ${formatMs(Number(durationMs))}`,
    `job ${job}`,
  ].join(', ');
  const why = [...(message === undefined ? [] : [message]), ...(Array.isArray(warnings) ? warnings : [])];
  return why.length === 0 ? said : oneLine(`${said}: ${why.join(' ')}`);
}

const isPlain = (value: unknown) =>
  ['string', 'number', 'boolean'].includes(typeof value) ||
  (Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string'));
