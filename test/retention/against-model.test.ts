import { expect, test } from 'vitest';
import { applyKeepPolicy } from '../../src/retention/apply-keep-policy.js';
import type { RetentionCandidate } from '../../src/retention/candidate.js';
import type { PreviousSweep } from '../../src/retention/clock-doubt.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';
import { oneOf as drawnOf, randomOf } from '../campaign/campaign.js';

const seed = 20261121;
const histories = 10_000;
const hour = 3_600_000;
const day = 24 * hour;

const fraction = randomOf(seed, 0);
const below = (limit: number) => Math.floor(fraction() * limit);
const chance = (probability: number) => fraction() < probability;
const oneOf = <T>(...items: T[]): T => drawnOf(fraction, items);
function shuffled<T>(items: T[]): T[] {
  const drawn = items.map((item) => ({ item, at: fraction() }));
  return drawn.sort((a, b) => a.at - b.at).map(({ item }) => item);
}

test(`does in ${histories} random histories what its documentation says, by a model that shares no code with it (seed ${seed})`, () => {
  const seen = { removed: 0, kept: 0, setBack: 0, leapt: 0, quiet: 0 };
  for (let number = 0; number < histories; number++) {
    const given = randomCase();
    const times = { ...given, timezone: given.zone, now: new Date(given.nowMs) };
    const plan = applyKeepPolicy(given.snapshots, given.policy, times);
    const kept = plan.keep.map(({ snapshot }) => snapshot).sort();
    const expected = [...modelOfKeeping(given)].sort();
    // Compared by hand, since ten thousand assertions cost more than what they assert.
    const isWhole = kept.length + plan.remove.length === given.snapshots.length;
    const isReasoned = plan.keep.every(({ reasons }) => reasons.length > 0);
    if (!isWhole || !isReasoned || kept.join() !== expected.join())
      expect.fail(`history ${number} keeps ${kept}, not ${expected}: ${JSON.stringify({ given, plan })}`);
    // What was kept once is kept the next time. Of one in ten: it takes as long as the first.
    const left = given.snapshots.filter(({ snapshot }) => number % 10 === 0 && kept.includes(snapshot));
    const { remove } = applyKeepPolicy(left, given.policy, times);
    if (remove.length > 0)
      expect.fail(`history ${number} does not keep ${JSON.stringify({ remove, given })}`);
    seen.kept += plan.keep.length;
    seen.removed += plan.remove.length;
    seen[wordOf(plan.warnings)] += 1;
  }
  // Every branch was taken many times, or this has compared nothing.
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(500);
});

function wordOf([warning = '']: string[]): 'setBack' | 'leapt' | 'quiet' {
  if (warning.includes('set back')) return 'setBack';
  return warning.includes('leapt') ? 'leapt' : 'quiet';
}

function randomCase(): ModelCase {
  const zone = oneOf('UTC', 'Europe/Rome', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu');
  // Often a day after one of those zones has changed its clocks.
  const [month = 0, date = 1] = chance(0.3)
    ? oneOf([2, 29], [9, 25], [10, 1], [3, 5])
    : [below(12), below(28)];
  const nowMs = Date.UTC(2026, month, date, below(24), below(60));
  return {
    ...{ zone, nowMs },
    snapshots: randomSnapshots(nowMs),
    policy: randomPolicy(),
    previous: randomPrevious(nowMs),
    clockIsRight: chance(0.1),
  };
}

/** At a pace between minutes and months, often over the ends of days and over changes of the clock. */
function randomSnapshots(nowMs: number): RetentionCandidate[] {
  const paceMs = oneOf(hour / 4, hour, 6 * hour, day, 7 * day, 40 * day);
  const snapshots: RetentionCandidate[] = [];
  let timeMs = nowMs + (chance(0.1) ? 1 : -1) * below(3 * hour);
  for (let count = below(25); count > 0; count--) {
    const takenMs = chance(0.01) ? oneOf(0, 946_684_800_000, 4_102_444_800_000) + count : timeMs;
    snapshots.push({
      ...{ snapshot: `debian@${snapshots.length}`, takenAt: new Date(takenMs).toISOString() },
      ...{ pinned: chance(0.05), good: chance(0.9) },
    });
    timeMs -= 1 + below(2 * paceMs);
  }
  return shuffled(snapshots);
}

function randomPolicy(): KeepPolicy {
  const policy: KeepPolicy = {};
  for (const rule of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const) {
    if (chance(0.4)) policy[rule] = below(6);
  }
  if (chance(0.3)) policy.withinMs = 1 + below(10 * day);
  return policy;
}

function randomPrevious(nowMs: number): PreviousSweep | null {
  if (chance(0.3)) return null;
  const agoMs = oneOf(-hour, hour, day, 90 * day, 74 * 365 * day) * (0.5 + fraction());
  const sweptMs = nowMs - agoMs;
  const iso = (ms: number) => new Date(ms).toISOString();
  return {
    sweptAt: iso(sweptMs),
    newestTakenAt: chance(0.1) ? null : iso(sweptMs - below(day)),
    elapsedMs: chance(0.4) ? null : Math.max(0, agoMs - oneOf(0, hour, day, agoMs)),
    aheadUntil: chance(0.2) ? iso(nowMs + below(80 * 365 * 24) * hour) : null,
  };
}

interface ModelCase {
  snapshots: RetentionCandidate[];
  policy: KeepPolicy;
  zone: string;
  nowMs: number;
  previous: PreviousSweep | null;
  clockIsRight: boolean;
}

/**
 * What the documentation of `keep` says, told of one snapshot at a time: whether it stays. Shares no code with
 * `applyKeepPolicy`, and goes about it the other way round: not from rules to snapshots, but from a snapshot to the question
 * how many spans that have one are newer than its own.
 * @returns the names of those that stay
 */
function modelOfKeeping(given: ModelCase): Set<string> {
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
