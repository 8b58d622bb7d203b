import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyKeepPolicy } from '../../src/retention/apply-keep-policy.js';
import type { RetentionCandidate } from '../../src/retention/candidate.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';

const now = new Date('2026-11-21T12:00:00Z');

function taken(takenAt: string, changes: Partial<RetentionCandidate> = {}): RetentionCandidate {
  return { snapshot: `debian@${takenAt}`, takenAt, pinned: false, good: true, ...changes };
}

/** One each day at noon UTC, from today back. */
function daily(count: number): RetentionCandidate[] {
  return Array.from({ length: count }, (_, days) =>
    taken(new Date(now.getTime() - days * 86_400_000).toISOString()),
  );
}

function keptDays(snapshots: RetentionCandidate[], policy: KeepPolicy, timezone = 'UTC'): string[] {
  return applyKeepPolicy(snapshots, policy, { timezone, now }).keep.map(({ snapshot }) =>
    snapshot.slice(7, 17),
  );
}

describe('the rules', () => {
  test('an empty policy keeps everything, and so does one of zeros', () => {
    for (const policy of [{}, { last: 0, daily: 0 }]) {
      const { keep, remove } = applyKeepPolicy(daily(5), policy, { now });
      expect(remove).toEqual([]);
      expect(keep.at(-1)?.reasons).toEqual(['no keep rule is set: everything stays']);
    }
  });

  test('last: the newest N', () => {
    expect(keptDays(daily(5), { last: 2 })).toEqual(['2026-11-21', '2026-11-20']);
  });

  test('daily: the newest of each day, over days that have one and not over the calendar', () => {
    const snapshots = [
      taken('2026-11-20T01:00:00Z'),
      taken('2026-11-20T23:00:00Z'),
      taken('2026-11-02T05:00:00Z'),
      taken('2026-11-01T05:00:00Z'),
    ];
    const { keep, remove } = applyKeepPolicy(snapshots, { daily: 2 }, { now });
    expect(keep.map(({ snapshot }) => snapshot)).toEqual([
      'debian@2026-11-20T23:00:00Z',
      'debian@2026-11-02T05:00:00Z',
    ]);
    expect(keep[1]?.reasons).toEqual(['daily: newest of 2026-11-02']);
    expect(remove).toEqual([
      { snapshot: 'debian@2026-11-20T01:00:00Z', reason: 'no keep rule asks for it' },
      { snapshot: 'debian@2026-11-01T05:00:00Z', reason: 'no keep rule asks for it' },
    ]);
  });

  test('weekly: weeks begin on Monday, and one that spans two years is one', () => {
    const snapshots = ['2026-01-05', '2026-01-04', '2026-01-01', '2025-12-29', '2025-12-28'].map((day) =>
      taken(`${day}T12:00:00Z`),
    );
    expect(keptDays(snapshots, { weekly: 3 })).toEqual(['2026-01-05', '2026-01-04', '2025-12-28']);
  });

  test('monthly and yearly: the newest of each month, of each year', () => {
    expect(keptDays(daily(800), { monthly: 3 })).toEqual(['2026-11-21', '2026-10-31', '2026-09-30']);
    expect(keptDays(daily(800), { yearly: 3 })).toEqual(['2026-11-21', '2025-12-31', '2024-12-31']);
  });

  test('within: back from the newest good snapshot, so that a guest without backups keeps what it has', () => {
    const old = ['2025-06-10', '2025-06-09', '2025-06-08', '2025-06-07'].map((day) =>
      taken(`${day}T12:00:00Z`),
    );
    expect(keptDays(old, { withinMs: 2 * 86_400_000 })).toEqual(['2025-06-10', '2025-06-09', '2025-06-08']);
  });

  test('several rules: what any of them asks for stays, with all of the reasons', () => {
    const { keep } = applyKeepPolicy(daily(40), { last: 1, daily: 3, monthly: 2 }, { now });
    expect(keep.map(({ reasons }) => reasons)).toEqual([
      [
        'last: 1 of 1',
        'daily: newest of 2026-11-21',
        'monthly: newest of 2026-11',
        'the newest good snapshot',
      ],
      ['daily: newest of 2026-11-20'],
      ['daily: newest of 2026-11-19'],
      ['monthly: newest of 2026-10'],
    ]);
  });
});

describe('days are the guest’s', () => {
  test('half past eleven in the evening in UTC is tomorrow in Rome', () => {
    const snapshots = [
      taken('2026-11-20T23:30:00Z'),
      taken('2026-11-20T22:30:00Z'),
      taken('2026-11-20T12:00:00Z'),
    ];
    expect(keptDays(snapshots, { daily: 5 }, 'UTC')).toHaveLength(1);
    expect(
      applyKeepPolicy(snapshots, { daily: 5 }, { timezone: 'Europe/Rome', now }).keep.map(
        ({ snapshot }) => snapshot,
      ),
    ).toEqual(['debian@2026-11-20T23:30:00Z', 'debian@2026-11-20T22:30:00Z']);
  });

  test('the hour that comes twice in autumn is two hours', () => {
    const twice = [taken('2026-10-25T00:30:00Z'), taken('2026-10-25T01:30:00Z')];
    expect(applyKeepPolicy(twice, { hourly: 5 }, { timezone: 'Europe/Rome', now }).remove).toEqual([]);
  });
});

describe('fault 60: what is not known to be good', () => {
  const damagedToday = [taken('2026-11-21T03:00:00Z', { good: false }), ...daily(4).slice(1)];

  test('takes no good one’s place, and stays to be looked at', () => {
    const { keep, remove } = applyKeepPolicy(damagedToday, { last: 1 }, { now });
    expect(keep.map(({ reasons }) => reasons)).toEqual([
      ['not known to be good: look at it'],
      ['last: 1 of 1', 'the newest good snapshot'],
    ]);
    expect(remove).toHaveLength(2);
  });

  test('a policy that would keep nothing else keeps the newest good one', () => {
    const { keep } = applyKeepPolicy(damagedToday, { last: 0, daily: 0, hourly: 0, withinMs: 1 }, { now });
    expect(keep.map(({ snapshot }) => snapshot.slice(7, 17))).toEqual(['2026-11-21', '2026-11-20']);
  });

  test('one whose time can’t be read is not removed either', () => {
    const { keep } = applyKeepPolicy([taken('yesterday'), ...daily(3)], { last: 1 }, { now });
    expect(keep.at(-1)).toEqual({
      snapshot: 'debian@yesterday',
      reasons: ['its time can\'t be true: "yesterday"'],
    });
  });
});

test('a clock that was set back removes nothing, and says what it stumbled over', () => {
  const { keep, remove } = applyKeepPolicy(
    [taken('2026-11-21T12:00:00.001Z'), ...daily(3)],
    { last: 1 },
    { now },
  );
  expect(remove).toEqual([]);
  expect(keep.at(-1)?.reasons).toEqual([
    'debian@2026-11-21T12:00:00.001Z lies in the future: nothing is removed until the clock is right',
  ]);
});

test('a damaged snapshot in the future holds removal as well', () => {
  const { remove } = applyKeepPolicy(
    [taken('2100-01-01T00:00:00Z', { good: false }), ...daily(3)],
    { last: 1 },
    { now },
  );
  expect(remove).toEqual([]);
});

test('no snapshots are no problem', () => {
  expect(applyKeepPolicy([], { last: 1 }, { now })).toMatchObject({ keep: [], remove: [], warnings: [] });
});

describe('for any snapshots and any policy', () => {
  const count = fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined });
  const policies = fc
    .record({
      last: count,
      hourly: count,
      daily: count,
      weekly: count,
      monthly: count,
      yearly: count,
      withinMs: fc.option(fc.integer({ min: 1, max: 30 * 86_400_000 }), { nil: undefined }),
    })
    .map(
      (policy) =>
        Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== undefined)) as KeepPolicy,
    );
  const candidates = fc
    .uniqueArray(
      fc.record({
        takenAt: fc
          // Mostly past, and close enough together for the buckets to fill; some in the future.
          .date({ min: new Date('2026-09-01'), max: new Date('2026-11-21T12:00:30Z'), noInvalidDate: true })
          .map((date) => date.toISOString()),
        number: fc.integer({ min: 0, max: 1_000_000 }),
        pinned: fc.boolean(),
        good: fc.boolean(),
      }),
      { maxLength: 40, selector: ({ number }) => number },
    )
    .map((items) =>
      items.map(({ number, ...rest }): RetentionCandidate => ({ snapshot: `debian@${number}`, ...rest })),
    );
  const zones = fc.constantFrom('UTC', 'Europe/Rome', 'Pacific/Kiritimati');

  function always(
    check: (
      snapshots: RetentionCandidate[],
      plan: ReturnType<typeof applyKeepPolicy>,
      again: (items: RetentionCandidate[]) => ReturnType<typeof applyKeepPolicy>,
    ) => void,
  ) {
    fc.assert(
      fc.property(candidates, policies, zones, (snapshots, policy, timezone) => {
        const again = (items: RetentionCandidate[]) => applyKeepPolicy(items, policy, { timezone, now });
        check(snapshots, again(snapshots), again);
      }),
      { numRuns: 300 },
    );
  }

  test('each is either kept or removed, with a reason', () => {
    always((snapshots, { keep, remove }) => {
      const names = [...keep, ...remove].map(({ snapshot }) => snapshot);
      expect(names.sort()).toEqual(snapshots.map(({ snapshot }) => snapshot).sort());
      for (const { reasons } of keep) expect(reasons.length).toBeGreaterThan(0);
      for (const { reason } of remove) expect(reason).not.toBe('');
    });
  });

  test('what is pinned, what is not known to be good, and the newest good one are never removed', () => {
    always((snapshots, { remove }) => {
      const removed = new Set(remove.map(({ snapshot }) => snapshot));
      const good = snapshots.filter((item) => item.good);
      const newestTime = good
        .map(({ takenAt }) => takenAt)
        .sort()
        .at(-1);
      const newestGood = good.filter(({ takenAt }) => takenAt === newestTime);
      if (newestGood.length > 0) expect(newestGood.some(({ snapshot }) => !removed.has(snapshot))).toBe(true);
      for (const item of snapshots)
        if (item.pinned || !item.good) expect(removed.has(item.snapshot)).toBe(false);
    });
  });

  test('what was kept once is kept the next time', () => {
    always((snapshots, { keep }, again) => {
      const kept = new Set(keep.map(({ snapshot }) => snapshot));
      expect(again(snapshots.filter(({ snapshot }) => kept.has(snapshot))).remove).toEqual([]);
    });
  });

  test('the order in which they are listed changes nothing', () => {
    always((snapshots, plan, again) => {
      expect(again([...snapshots].reverse())).toEqual(plan);
    });
  });

  test('nothing is removed while anything lies in the future', () => {
    always((snapshots, { remove }) => {
      if (snapshots.some(({ takenAt }) => Date.parse(takenAt) > now.getTime())) expect(remove).toEqual([]);
    });
  });
});
