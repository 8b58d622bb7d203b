import { expect, test } from 'vitest';
import { isLagging, StoreLagWatch } from '../../src/alerts/store-lag.js';

const now = new Date('2026-11-21T12:00:00.000Z');
const gap = (missed: number, missedSince: string | null = '2026-11-19T03:15:00.000Z', store = 'away') => ({
  ...{ guest: 'debian', store, newestAt: '2026-11-18T03:15:00.000Z' },
  ...{ missed, missedSince: missed === 0 ? null : missedSince },
});

test.each([
  ['of one that the next job carries on', gap(1), false],
  ['of two, of which the first was just now', gap(2, '2026-11-21T11:30:00.000Z'), false],
  ['of two, of which the first is an hour old', gap(2, '2026-11-21T11:00:00.000Z'), true],
  ['of none', gap(0), false],
])('a gap %s', (_, found, lags) => {
  expect(isLagging(found, now)).toBe(lags);
});

test('a store that lags behind is told once when a further backup has left it out, and once when it has all again', () => {
  const watch = new StoreLagWatch();
  const told = (...gaps: ReturnType<typeof gap>[]) => watch.take(gaps, now).map(({ subject }) => subject);
  const lags = 'umlsnap: debian: store away lacks its last 3 snapshots';
  // It may be new in the config, and the next job fills it.
  expect(told(gap(2))).toEqual([]);
  expect(told(gap(2))).toEqual([]);
  expect(told(gap(3))).toEqual([lags]);
  expect(told(gap(4))).toEqual([]);
  expect(told(gap(1))).toEqual([]);
  expect(told(gap(2))).toEqual([]);
  expect(told(gap(0))).toEqual(['umlsnap: debian: store away has caught up']);
  expect(told(gap(0))).toEqual([]);
});

test('of a store that was filled before it was told, or was taken out of the config, nothing is told', () => {
  const watch = new StoreLagWatch();
  const told = (...gaps: ReturnType<typeof gap>[]) => watch.take(gaps, now).length;
  expect([told(gap(9)), told(gap(0)), told(gap(2)), told(gap(3)), told(), told(gap(0))]).toEqual([
    0, 0, 0, 1, 0, 0,
  ]);
});
