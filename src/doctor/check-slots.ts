import { formatDuration } from '../config/duration.js';
import type { NextRun } from '../schedule/next-run.js';
import { type Finding, fine, trouble } from './finding.js';

/** A daemon that is at work on other guests may let one wait for so long. */
const patienceMs = 15 * 60_000;

/** Whether a guest's last scheduled run has happened. @param next null: its schedule has no more slots */
export function checkSlots(
  { name, jitterMs }: { name: string; jitterMs: number },
  next: NextRun | null,
  now: Date,
): Finding {
  const about = { check: 'slots', about: name } as const;
  const at = next?.at.toISOString() ?? null;
  const lateMs = next?.isOverdue ? now.getTime() - next.at.getTime() : 0;
  if (next === null) return fine(about, 'Its schedule has no more runs.');
  if (lateMs <= patienceMs + jitterMs) {
    return fine(about, next.isOverdue ? `A run is due since ${at}.` : `No run was missed; next at ${at}.`, {
      next: at,
    });
  }
  return trouble(about, {
    level: 'warning',
    what: `The run of ${at} has not happened, for ${formatDuration(lateMs)}.`,
    means:
      'The daemon was not there, or has more to do than it can: the newest snapshot is older than the schedule promises.',
    mend: 'See that the daemon runs (`umlsnap status`); it makes up for a missed run by itself. If it can not keep up, raise `concurrency` or spread the schedules.',
    facts: { missed: at, lateMs },
  });
}
