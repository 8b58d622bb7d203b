import { nextSlot, slotsBetween } from './cron-slots.js';

/** What a schedule has promised by now. */
export interface PromisedRun {
  /** The newest slot whose run should be over: a snapshot from before it is too old. */
  slot: Date;
  /** From this slot to the one after it. */
  intervalMs: number;
}

export interface PromisedSchedule {
  schedule: string;
  timezone: string;
  jitterMs: number;
}

const minuteMs = 60_000;
const yearMs = 366 * 86_400_000;

/** For a run to come to its end: a tenth of the time between two, within reason. */
function graceMs(intervalMs: number): number {
  return Math.min(60 * minuteMs, Math.max(5 * minuteMs, intervalMs / 10));
}

/** @returns null while the schedule has promised nothing within a year */
export function promisedRun(
  { schedule, timezone, jitterMs }: PromisedSchedule,
  now: Date,
): PromisedRun | null {
  const before = (instantMs: number, limit: number) =>
    slotsBetween(schedule, timezone, new Date(instantMs - yearMs), new Date(instantMs), limit);
  const [newest] = before(now.getTime(), 1);
  if (!newest) return null;
  const gapMs = gapAfter(schedule, timezone, newest);
  const [slot] = before(now.getTime() - jitterMs - graceMs(gapMs), 1);
  return slot ? { slot, intervalMs: gapAfter(schedule, timezone, slot) } : null;
}

function gapAfter(schedule: string, timezone: string, slot: Date): number {
  const following = nextSlot(schedule, timezone, slot);
  return following === null ? Number.POSITIVE_INFINITY : following.getTime() - slot.getTime();
}
