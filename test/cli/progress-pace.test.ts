import { expect, test } from 'vitest';
import { ProgressPace } from '../../src/cli/progress-pace.js';

const mib = 1024 * 1024;

test('the time left is told by how fast it got on lately, once that is known', () => {
  const pace = new ProgressPace();
  expect(pace.of('copy', 0, 100 * mib, 0)).toEqual({ bytesPerSecond: null, leftMs: null });
  expect(pace.of('copy', mib, 100 * mib, 500)).toEqual({ bytesPerSecond: null, leftMs: null });
  expect(pace.of('copy', 10 * mib, 100 * mib, 1000)).toEqual({ bytesPerSecond: 10 * mib, leftMs: 9000 });
  // It got slow: what was fast once counts for nothing after a while.
  for (let second = 2; second <= 60; second++) pace.of('copy', (10 + second) * mib, 100 * mib, second * 1000);
  expect(pace.of('copy', 71 * mib, 100 * mib, 61_000)).toEqual({ bytesPerSecond: mib, leftMs: 29_000 });
});

test('works that go on side by side have their own pace, one that begins anew begins anew, and one that stands still promises nothing', () => {
  const pace = new ProgressPace();
  const nothing = { bytesPerSecond: null, leftMs: null };
  for (const work of ['a', 'b']) pace.of(work, 0, 10, 0);
  expect(pace.of('a', 4, 10, 2000).bytesPerSecond).toBe(2);
  expect(pace.of('b', 8, 10, 2000).bytesPerSecond).toBe(4);
  expect(pace.of('a', 1, 10, 3000)).toEqual(nothing);
  expect(pace.of('a', 1, 10, 63_000)).toEqual(nothing);
});
