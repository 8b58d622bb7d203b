import { expect, test } from 'vitest';
import { longestNotDrilled } from '../../src/daemon/drill-sample.js';

test('guests that were never drilled come first, then those whose last drill is the longest ago', () => {
  const drills = [
    { guest: 'b', drilledAt: '2026-03-01T00:00:00.000Z' },
    { guest: 'a', drilledAt: '2026-01-01T00:00:00.000Z' },
    { guest: 'a', drilledAt: '2026-04-01T00:00:00.000Z' },
    { guest: 'gone', drilledAt: '2025-01-01T00:00:00.000Z' },
  ];
  expect(longestNotDrilled(['a', 'b', 'd', 'c'], drills)).toEqual(['c', 'd', 'b', 'a']);
});
