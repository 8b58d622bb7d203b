import { expect, test } from 'vitest';
import { nextRunOf } from '../../src/schedule/next-run.js';

const entry = { name: 'debian', schedule: '0 3 * * *', timezone: 'UTC', catchUp: true, jitterMs: 0 };
const at = (text: string) => new Date(`2026-11-${text}Z`);

test('an entry that nothing was ever done for runs at its next slot', () => {
  expect(nextRunOf({ ...entry, lastSlot: null }, at('21T10:00:00'))).toEqual({
    ...{ at: at('22T03:00:00'), isOverdue: false },
  });
});

test('a slot that passed while no daemon ran is overdue', () => {
  expect(nextRunOf({ ...entry, lastSlot: at('19T03:00:00') }, at('21T10:00:00'))).toEqual({
    ...{ at: at('21T03:00:00'), isOverdue: true },
  });
});

test('without catching up, what is missed is missed', () => {
  const lastSlot = at('19T03:00:00');
  expect(nextRunOf({ ...entry, catchUp: false, lastSlot }, at('21T10:00:00'))).toEqual({
    ...{ at: at('22T03:00:00'), isOverdue: false },
  });
});

test('jitter is part of the answer, and the same each time', () => {
  const jittered = { ...entry, jitterMs: 3_600_000, lastSlot: null };
  const next = nextRunOf(jittered, at('21T10:00:00'));
  expect(next?.at.getTime()).toBeGreaterThan(at('22T03:00:00').getTime());
  expect(next?.at.getTime()).toBeLessThan(at('22T04:00:00').getTime());
  expect(nextRunOf(jittered, at('21T11:00:00'))).toEqual(next);
});

test('a last slot of years ahead does not put the next run off by years', () => {
  expect(nextRunOf({ ...entry, lastSlot: new Date('2100-01-01T03:00:00Z') }, at('21T10:00:00'))).toEqual({
    ...{ at: at('22T03:00:00'), isOverdue: false },
  });
});
