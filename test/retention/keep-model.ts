import type { RetentionCandidate } from '../../src/retention/candidate.js';
import type { PreviousSweep } from '../../src/retention/clock-doubt.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';

/**
 * What the documentation of `keep` says, told of one snapshot at a time: whether it stays. Shares no code with
 * `applyKeepPolicy`, and goes about it the other way round: not from rules to snapshots, but from a snapshot to the question
 * how many spans that have one are newer than its own.
 */

export interface ModelCase {
  snapshots: RetentionCandidate[];
  policy: KeepPolicy;
  zone: string;
  nowMs: number;
  previous: PreviousSweep | null;
  clockIsRight: boolean;
}

const day = 86_400_000;

/** Names of those that stay. */
export function modelOfKeeping(given: ModelCase): Set<string> {
  const { snapshots, policy, nowMs, previous } = given;
  const everything = new Set(snapshots.map(({ snapshot }) => snapshot));
  if (!Object.values(policy).some((value) => value > 0) || isSetBack(given)) return everything;

  const sweptNewest = isLeap(given) ? msOf(previous?.newestTakenAt ?? '1900-01-01T00:00:00Z') : Infinity;
  const counted = snapshots.filter(
    (one) => one.good && msOf(one.takenAt) >= Date.UTC(2020) && msOf(one.takenAt) <= nowMs,
  );
  const times = counted.map((one) => msOf(one.takenAt));
  const judged = times.filter((time) => time <= sweptNewest);
  return new Set(
    snapshots
      .filter((one) => {
        const time = msOf(one.takenAt);
        if (one.pinned || !counted.includes(one) || time === Math.max(...times)) return true;
        return time > sweptNewest || someRuleKeeps(time, judged, given);
      })
      .map(({ snapshot }) => snapshot),
  );
}

function someRuleKeeps(time: number, judged: number[], { policy, zone }: ModelCase): boolean {
  const newer = judged.filter((other) => other > time);
  if (newer.length < (policy.last ?? 0)) return true;
  if (policy.withinMs !== undefined && Math.max(time, ...newer) - time <= policy.withinMs) return true;
  const spans = { hourly: hourOf, daily: dayOf, weekly: weekOf, monthly: monthOf, yearly: yearOf };
  return Object.entries(spans).some(([rule, spanOf]) => {
    const newerSpans = new Set(newer.map((other) => spanOf(other, zone)));
    const isNewestOfItsOwn = !newerSpans.has(spanOf(time, zone));
    return isNewestOfItsOwn && newerSpans.size < (policy[rule as keyof KeepPolicy] ?? 0);
  });
}

function isSetBack({ snapshots, previous, nowMs, clockIsRight }: ModelCase): boolean {
  if (clockIsRight) return false;
  const excused = previous?.aheadUntil ? msOf(previous.aheadUntil) : -Infinity;
  const ahead = snapshots.map(({ takenAt }) => msOf(takenAt)).filter((time) => time > nowMs);
  return ahead.some((time) => time > excused) || (previous !== null && msOf(previous.sweptAt) > nowMs);
}

/** More than three hours too much on the same boot; more than a hundred days across one. */
function isLeap({ previous, nowMs, clockIsRight }: ModelCase): boolean {
  if (previous === null || clockIsRight) return false;
  const said = nowMs - msOf(previous.sweptAt);
  return previous.elapsedMs === null ? said > 100 * day : said - previous.elapsedMs > day / 8;
}

const msOf = (iso: string) => new Date(iso).getTime();

const walls = new Map<string, string>();
const formats = new Map<string, Intl.DateTimeFormat>();

/** `2026-11-21 03:15:00`, as a clock on a wall in that zone shows it. */
function wall(time: number, zone: string): string {
  const key = `${time} ${zone}`;
  let shown = walls.get(key);
  if (shown !== undefined) return shown;
  const format =
    formats.get(zone) ??
    new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' });
  formats.set(zone, format);
  shown = format.format(time);
  walls.set(key, shown);
  return shown;
}

/** The instant at which the hour on the wall has begun: two hours of the same name begin at different ones. */
function hourOf(time: number, zone: string): number {
  const [, minutes, seconds] = wall(time, zone).split(':');
  return time - (time % 1000) - (Number(minutes) * 60 + Number(seconds)) * 1000;
}

const dayOf = (time: number, zone: string) => wall(time, zone).slice(0, 10);
const monthOf = (time: number, zone: string) => wall(time, zone).slice(0, 7);
const yearOf = (time: number, zone: string) => wall(time, zone).slice(0, 4);

/** The date of the Monday of that day's week. */
function weekOf(time: number, zone: string): number {
  const noon = msOf(`${dayOf(time, zone)}T12:00:00Z`);
  return noon - ((new Date(noon).getUTCDay() + 6) % 7) * day;
}
