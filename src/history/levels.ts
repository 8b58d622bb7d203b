import { agentCure, missingText } from '../error-text.js';
import type { Consistency, JobRecord } from './records.js';

/** So many backups tell how consistent a guest's are. */
export const backupsThatTell = 10;

/** From the weakest. */
const levels: readonly Consistency[] = ['crash', 'synced', 'frozen'];

export function isWeaker(one: Consistency, other: Consistency): boolean {
  return levels.indexOf(one) < levels.indexOf(other);
}

/** `synced`; `crash, 12 KiB not on disk`. */
export function levelText(level: Consistency, dirtyKib: number): string {
  return level === 'crash' ? `crash, ${missingText(dirtyKib)}` : level;
}

/**
 * The levels that a guest's backups came to, in their order: also of those that were refused for their level.
 * @param jobs of one guest
 */
export function levelsReached(jobs: readonly Pick<JobRecord, 'kind' | 'summary'>[]): Consistency[] {
  return jobs
    .filter(({ kind }) => kind === 'backup')
    .flatMap(({ summary }) => levels.filter((level) => level === summary?.consistency));
}

export interface ExpectedLevel {
  level: Consistency;
  /** One sentence, for people. */
  text: string;
}

/**
 * What the next backup is likely to come to: what most of the last ones came to, and the weaker where they are divided.
 * @param reached newest first
 * @returns null when none has come to any
 */
export function expectedLevel(reached: readonly Consistency[]): ExpectedLevel | null {
  const last = reached.slice(0, backupsThatTell);
  const counts = levels
    .map((level) => ({ level, count: last.filter((one) => one === level).length }))
    .filter(({ count }) => count > 0);
  const [first, ...others] = counts;
  if (!first) return null;
  const { level } = others.reduce((most, one) => (one.count > most.count ? one : most), first);
  const told = counts.map((one) => `\`${one.level}\` in ${one.count}`).toReversed();
  const text = `${told.join(', ')} of the last ${last.length}: expect \`${level}\`.`;
  return { level, text: level === 'frozen' ? text : `${text} ${agentCure}` };
}

/**
 * Whether the level on which a guest's backups can be counted is another one with the newest of them. That is the weakest of the
 * last ten: it falls with the first that is weaker, and is back when ten in a row have reached more. A guest that is now clean
 * and now not has it low all the time, and so nobody is told each night.
 * @param before the levels of those before it, newest first
 */
export function levelChange(
  newest: Consistency,
  before: readonly Consistency[],
): { from: Consistency; to: Consistency } | null {
  if (before.length === 0) return null;
  const from = weakestOf(before.slice(0, backupsThatTell));
  const to = weakestOf([newest, ...before.slice(0, backupsThatTell - 1)]);
  return from === to ? null : { from, to };
}

const weakestOf = (of: readonly Consistency[]): Consistency =>
  of.reduce((weakest, one) => (isWeaker(one, weakest) ? one : weakest));
