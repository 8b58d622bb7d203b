import { describe, expect, test } from 'vitest';
import { applyKeepPolicy } from '../../src/retention/apply-keep-policy.js';
import type { RetentionCandidate } from '../../src/retention/candidate.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';

/** What the rules mean, by examples, and how they are told; `against-model` holds them against random histories. */

const now = new Date('2026-11-21T12:00:00Z');

function taken(takenAt: string, changes: Partial<RetentionCandidate> = {}): RetentionCandidate {
  return { snapshot: `of ${takenAt}`, takenAt, pinned: false, good: true, ...changes };
}

/** The last days up to today. */
const days = (count: number) =>
  Array.from({ length: count }, (_, ago) =>
    new Date(now.getTime() - ago * 86_400_000).toISOString().slice(0, 10),
  );
const daily = (count: number) => days(count).map((day) => taken(day));

test.each<[rule: string, policy: KeepPolicy, taken: string[], kept: string[]]>([
  ['last: the newest N', { last: 2 }, days(5), ['2026-11-21', '2026-11-20']],
  [
    'daily: the newest of each day, over days that have one and not over the calendar',
    { daily: 2 },
    ['2026-11-20T01:00Z', '2026-11-20T23:00Z', '2026-11-02', '2026-11-01'],
    ['2026-11-20T23:00Z', '2026-11-02'],
  ],
  [
    'weekly: weeks begin on Monday, and one that spans two years is one',
    { weekly: 3 },
    ['2026-01-05', '2026-01-04', '2026-01-01', '2025-12-29', '2025-12-28'],
    ['2026-01-05', '2026-01-04', '2025-12-28'],
  ],
  ['monthly: the newest of each', { monthly: 3 }, days(800), ['2026-11-21', '2026-10-31', '2026-09-30']],
  ['yearly: the newest of each', { yearly: 3 }, days(800), ['2026-11-21', '2025-12-31', '2024-12-31']],
  [
    'within: back from the newest good snapshot, so that a guest without backups keeps what it has',
    { withinMs: 2 * 86_400_000 },
    ['2025-06-10', '2025-06-09', '2025-06-08', '2025-06-07'],
    ['2025-06-10', '2025-06-09', '2025-06-08'],
  ],
])('%s', (_, policy, times, kept) => {
  const snapshots = times.map((time) => taken(time));
  const { keep } = applyKeepPolicy(snapshots, policy, { now });
  expect(keep.map(({ snapshot }) => snapshot)).toEqual(kept.map((time) => `of ${time}`));
});

test('what any of several rules asks for stays, with all of the reasons, and the rest goes', () => {
  const { keep, remove } = applyKeepPolicy(daily(40), { last: 1, daily: 3, monthly: 2 }, { now });
  expect(keep.map(({ reasons }) => reasons)).toEqual([
    ['last: 1 of 1', 'daily: newest of 2026-11-21', 'monthly: newest of 2026-11', 'the newest good snapshot'],
    ['daily: newest of 2026-11-20'],
    ['daily: newest of 2026-11-19'],
    ['monthly: newest of 2026-10'],
  ]);
  expect(remove).toHaveLength(36);
  expect(remove[0]).toMatchObject({ snapshot: 'of 2026-11-18', reason: 'no keep rule asks for it' });
});

test('an empty policy keeps everything, and so does one of zeros', () => {
  for (const policy of [{}, { last: 0, daily: 0 }]) {
    const { keep, remove } = applyKeepPolicy(daily(5), policy, { now });
    expect(remove).toEqual([]);
    expect(keep.at(-1)?.reasons).toEqual(['no keep rule is set: everything stays']);
  }
});

describe('fault 60: what is not known to be good', () => {
  const damagedToday = [taken('2026-11-21T03:00Z', { good: false }), ...daily(4).slice(1)];

  test.each<[KeepPolicy, string]>([
    [{ last: 1 }, 'last: 1 of 1'],
    [{ last: 0, daily: 0, hourly: 0, withinMs: 1 }, 'within: young enough'],
  ])('takes no good one’s place, and stays to be looked at: %j', (policy, reason) => {
    const { keep, remove } = applyKeepPolicy(damagedToday, policy, { now });
    expect(keep.map(({ reasons }) => reasons)).toEqual([
      ['not known to be good: look at it'],
      [reason, 'the newest good snapshot'],
    ]);
    expect(remove).toHaveLength(2);
  });

  test('nor is one removed whose time can’t be read', () => {
    const { keep } = applyKeepPolicy([taken('yesterday'), ...daily(3)], { last: 1 }, { now });
    expect(keep.at(-1)).toEqual({
      ...{ snapshot: 'of yesterday', reasons: ['its time can\'t be true: "yesterday"'] },
    });
  });
});

test.each([true, false])(
  'while one lies in the future, the clock was set back: nothing is removed, and what it stumbled over is told (good: %s)',
  (good) => {
    const { keep, remove } = applyKeepPolicy(
      [taken('2026-11-21T12:00:00.001Z', { good }), ...daily(3)],
      { last: 1 },
      { now },
    );
    expect(remove).toEqual([]);
    expect(keep.at(-1)?.reasons).toEqual([
      'of 2026-11-21T12:00:00.001Z lies in the future: nothing is removed until the clock is right',
    ]);
  },
);

test('in which order they are listed makes no difference, even to twins', () => {
  const twins = ['a', 'b'].map((snapshot) => taken('2026-11-21', { snapshot }));
  const plan = applyKeepPolicy([...twins, ...daily(3)], { last: 2 }, { now });
  expect(applyKeepPolicy([...daily(3), ...twins].toReversed(), { last: 2 }, { now })).toEqual(plan);
});
