import { expect, test } from 'vitest';
import { applyKeepPolicy } from '../../src/retention/apply-keep-policy.js';
import type { RetentionCandidate } from '../../src/retention/candidate.js';
import type { PreviousSweep } from '../../src/retention/clock-doubt.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';
import { type ModelCase, modelOfKeeping } from './keep-model.js';

const seed = 20261121;
const histories = 10_000;
const hour = 3_600_000;
/** Months from 0, and days after one of those zones has changed its clocks. */
const clockChanges: [[number, number], ...[number, number][]] = [
  [2, 29],
  [9, 25],
  [10, 1],
  [3, 5],
];

test(`does in ${histories} random histories what its documentation says, by a model that shares no code with it (seed ${seed})`, () => {
  const random = new Random(seed);
  const seen = { removed: 0, kept: 0, setBack: 0, leapt: 0, quiet: 0 };
  for (let number = 0; number < histories; number++) {
    const given = randomCase(random);
    const times = { ...given, timezone: given.zone, now: new Date(given.nowMs) };
    const plan = applyKeepPolicy(given.snapshots, given.policy, times);
    const kept = plan.keep.map(({ snapshot }) => snapshot).sort();
    const expected = [...modelOfKeeping(given)].sort();
    // Compared by hand, since ten thousand assertions cost more than what they assert.
    const isWhole = kept.length + plan.remove.length === given.snapshots.length;
    if (!isWhole || kept.join() !== expected.join() || plan.keep.some(({ reasons }) => reasons.length === 0))
      expect(kept, `history ${number}: ${JSON.stringify(given)}`).toEqual(expected);
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

function randomCase(random: Random): ModelCase {
  const zone = random.of(['UTC', 'Europe/Rome', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu']);
  const [month, date] = random.chance(0.3) ? random.of(clockChanges) : [random.below(12), random.below(28)];
  const nowMs = Date.UTC(2026, month, date, random.below(24), random.below(60));
  return {
    ...{ zone, nowMs },
    snapshots: randomSnapshots(random, nowMs),
    policy: randomPolicy(random),
    previous: randomPrevious(random, nowMs),
    clockIsRight: random.chance(0.1),
  };
}

/** At a pace between minutes and months, often over the ends of days and over changes of the clock. */
function randomSnapshots(random: Random, nowMs: number): RetentionCandidate[] {
  const paceMs = random.of([hour / 4, hour, 6 * hour, 24 * hour, 7 * 24 * hour, 40 * 24 * hour]);
  const snapshots: RetentionCandidate[] = [];
  let timeMs = nowMs + (random.chance(0.1) ? 1 : -1) * random.below(3 * hour);
  for (let count = random.below(25); count > 0; count--) {
    const displacedMs = random.chance(0.01)
      ? random.of([0, 946_684_800_000, 4_102_444_800_000]) + count
      : timeMs;
    snapshots.push({
      snapshot: `debian@${snapshots.length}`,
      takenAt: new Date(displacedMs).toISOString(),
      pinned: random.chance(0.05),
      good: random.chance(0.9),
    });
    timeMs -= 1 + random.below(2 * paceMs);
  }
  return random.shuffled(snapshots);
}

function randomPolicy(random: Random): KeepPolicy {
  const policy: KeepPolicy = {};
  for (const rule of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const) {
    if (random.chance(0.4)) policy[rule] = random.below(6);
  }
  if (random.chance(0.3)) policy.withinMs = 1 + random.below(10 * 24 * hour);
  return policy;
}

function randomPrevious(random: Random, nowMs: number): PreviousSweep | null {
  if (random.chance(0.3)) return null;
  const agoMs =
    random.of([-hour, hour, 24 * hour, 90 * 24 * hour, 74 * 365 * 24 * hour]) * (0.5 + random.fraction());
  const sweptMs = nowMs - agoMs;
  const iso = (ms: number) => new Date(ms).toISOString();
  return {
    sweptAt: iso(sweptMs),
    newestTakenAt: random.chance(0.1) ? null : iso(sweptMs - random.below(24 * hour)),
    elapsedMs: random.chance(0.4) ? null : Math.max(0, agoMs - random.of([0, hour, 24 * hour, agoMs])),
    aheadUntil: random.chance(0.2) ? iso(nowMs + random.below(80 * 365 * 24) * hour) : null,
  };
}

/** mulberry32: small, and the same everywhere. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  of<T>(items: readonly [T, ...T[]]): T {
    return items[this.below(items.length)] ?? items[0];
  }

  shuffled<T>(items: T[]): T[] {
    return items
      .map((item) => ({ item, at: this.fraction() }))
      .sort((a, b) => a.at - b.at)
      .map(({ item }) => item);
  }
}
