import { describe, expect, test } from 'vitest';
import { dueOf, oldestVerifiedFirst } from '../../src/verify/verify-order.js';

const dayMs = 86_400_000;
const day = (number: number) => new Date(Date.parse('2026-01-01T04:30:00Z') + number * dayMs);
const dayOrNull = (number: number | null) => (number === null ? null : day(number));

const snapshot = (name: string, taken: number, verified: number | null = null) => ({
  ...{ name, takenAt: day(taken), verifiedAt: dayOrNull(verified) },
});
const names = (snapshots: { name: string }[]) => snapshots.map(({ name }) => name);

test('the one that was verified longest ago comes first, and one that never was counts from its capture', () => {
  const snapshots = [snapshot('a', 0, 20), snapshot('b', 5), snapshot('c', 1, 3), snapshot('d', 30)];
  expect(names(oldestVerifiedFirst(snapshots))).toEqual(['c', 'b', 'a', 'd']);
});

describe('a run reads', () => {
  const rule = (now: number, nextRun: number | null) => ({
    ...{ now: day(now), withinMs: 30 * dayMs, nextRun: dayOrNull(nextRun) },
  });

  test('what would be overdue before the next run, and nothing that was read lately', () => {
    const snapshots = [snapshot('a', 0), snapshot('b', 0, 10), snapshot('c', 28)];
    expect(names(dueOf(snapshots, rule(29, 30)))).toEqual(['a']);
    // With a week until the next run.
    expect(names(dueOf(snapshots, rule(35, 42)))).toEqual(['a', 'b']);
    expect(names(dueOf(snapshots, rule(10, 11)))).toEqual([]);
  });

  test('all of them when there is no next run', () => {
    expect(dueOf([snapshot('a', 0), snapshot('b', 0)], rule(1, null))).toHaveLength(2);
  });

  test('each snapshot in time for a year, and no run reads all that once were read together', () => {
    let snapshots = Array.from({ length: 100 }, (_, index) => snapshot(`s${index}`, 0));
    const sizes: number[] = [];
    let oldestMs = 0;
    for (let today = 1; today <= 365; today += 1) {
      const due = new Set(names(dueOf(snapshots, rule(today, today + 1))));
      sizes.push(due.size);
      snapshots = snapshots.map((one) => (due.has(one.name) ? { ...one, verifiedAt: day(today) } : one));
      for (const { takenAt, verifiedAt } of snapshots)
        oldestMs = Math.max(oldestMs, day(today).getTime() - (verifiedAt ?? takenAt).getTime());
    }
    expect(oldestMs).toBeLessThanOrEqual(30 * dayMs);
    const [most, reads] = [Math.max(...sizes.slice(60)), sizes.reduce((sum, size) => sum + size, 0)];
    expect(most).toBeLessThanOrEqual(8);
    // Twelve times a year each would do; twice that is the most that spreading them may cost.
    expect(reads).toBeLessThanOrEqual(100 * 24.5);
  });
});
