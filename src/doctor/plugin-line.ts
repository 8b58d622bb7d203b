import { countText } from '../error-text.js';
import type { ExitCode } from '../exit-codes.js';
import { printableLine } from '../mconsole/printable.js';
import { type Finding, type Level, worstLevel } from './finding.js';

/** As plugins of Nagios, Icinga and kin end. */
const statuses = { ok: 0, warning: 1, critical: 2, unknown: 3 } as const satisfies Record<Level, ExitCode>;

export function pluginStatus(level: Level): ExitCode {
  return statuses[level];
}

const words: [Exclude<Level, 'ok'>, (count: number) => string][] = [
  ['critical', (count) => `${count} critical`],
  ['warning', (count) => countText(count, 'warning')],
  ['unknown', (count) => `${count} unknown`],
];

/**
 * One line: state, what is wrong (the worst first), and figures behind a bar, `'label'=value[unit];warn;crit;min`. Free room
 * of a store warns where the next week does not fit, and is critical where the next snapshot does not.
 */
export function pluginLine(findings: readonly Finding[]): string {
  const level = worstLevel(findings.map((finding) => finding.level));
  const bad = words.flatMap(([wanted]) => findings.filter((finding) => finding.level === wanted));
  const counts = words.flatMap(([wanted, word]) => {
    const { length } = findings.filter((finding) => finding.level === wanted);
    return length === 0 ? [] : [word(length)];
  });
  const told = bad.map(({ check, about, what }) => `${about ?? 'host'} ${check}: ${what}`);
  const text =
    bad.length === 0
      ? `${countText(findings.length, 'check')} ok`
      : `${counts.join(', ')}: ${told.join(' / ')}`;
  const plain = printableLine(text).replaceAll('|', '/');
  return `UMLSNAP ${level.toUpperCase()} - ${plain} | ${figuresOf(findings).join(' ')}`;
}

function figuresOf(findings: readonly Finding[]): string[] {
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length;
  const levels = (['ok', 'warning', 'critical', 'unknown'] as const).map(
    (level) => `'${level}'=${count(level)};;;0`,
  );
  const rooms = findings
    .filter(({ check }) => check === 'room')
    .map(
      ({ about, facts }) => `'free_${about}'=${facts.freeBytes}B;${facts.weekBytes}:;${facts.nextBytes}:;0`,
    );
  return [...levels, ...rooms];
}
