import { type PlannedEntry, planTick } from './plan-tick.js';

export interface NextRun {
  /** Its jitter is in it. */
  at: Date;
  /** It is due, and waits for a daemon. */
  isOverdue: boolean;
}

/** When a scheduler would run this entry next; null when its schedule has no more slots. */
export function nextRunOf(entry: Omit<PlannedEntry, 'since'>, now: Date): NextRun | null {
  const plan = planTick({
    now,
    entries: [{ ...entry, since: now }],
    running: new Set(),
    waiting: [],
    concurrency: 1,
  });
  const [due] = plan.due;
  if (due) return { at: due.slot, isOverdue: true };
  if (plan.next) return { at: plan.next, isOverdue: false };
  // A last slot of a clock gone wrong: a scheduler counts from now on.
  return plan.held.some(({ action }) => action === 'restart') && entry.lastSlot !== null
    ? nextRunOf({ ...entry, lastSlot: null }, now)
    : null;
}
