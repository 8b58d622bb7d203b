import type { RecentJob } from './overview-queries.js';

/**
 * Whether a guest is excused from its last slot: it was halted then, and its last backup of before has left what is sound. Whether the
 * guest runs now is another matter: a slot that it was halted in has no snapshot. Pure.
 * @param recent backups, oldest first, with the last that was let run to its end
 * @param newestTakenAt of its newest sound snapshot; null: there is none
 * @param slot whose snapshot there should be; null: there was none
 */
export function isExcused(
  recent: readonly Pick<RecentJob, 'status' | 'startedAt' | 'isHalted'>[],
  newestTakenAt: string | null,
  slot: Date | null,
): boolean {
  if (newestTakenAt === null || slot === null) return false;
  const telling = recent.filter(
    ({ status, isHalted }) => isHalted || !['running', 'skipped'].includes(status),
  );
  const last = telling.at(-1);
  if (!last?.isHalted || Date.parse(last.startedAt) < slot.getTime()) return false;
  const before = telling.findLast(({ isHalted }) => !isHalted);
  return before === undefined || before.startedAt <= newestTakenAt;
}
