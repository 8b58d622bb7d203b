import { expect, test } from 'vitest';
import { nextRunOf } from '../../src/schedule/next-run.js';

const at = (text: string) => new Date(`2026-11-${text}Z`);
const daily = { name: 'debian', schedule: '0 3 * * *', timezone: 'UTC' };
const neverRun = { ...daily, catchUp: true, jitterMs: 0, lastSlot: null };

test.each<[is: string, changes: { catchUp?: boolean; lastSlot?: Date }, next: string, isOverdue: boolean]>([
  ['that nothing was ever done for runs at its next slot', {}, '22T03:00', false],
  ['whose slot passed while no daemon ran is overdue', { lastSlot: at('19T03:00') }, '21T03:00', true],
  ['that catches nothing up has missed it', { lastSlot: at('19T03:00'), catchUp: false }, '22T03:00', false],
  ['of a clock gone wrong is not put off by years', { lastSlot: new Date('2100') }, '22T03:00', false],
])('an entry %s', (_, changes, next, isOverdue) => {
  expect(nextRunOf({ ...neverRun, ...changes }, at('21T10:00'))).toEqual({ at: at(next), isOverdue });
});

test('jitter is part of the answer, and the same each time', () => {
  const jittered = { ...neverRun, jitterMs: 3_600_000 };
  const next = nextRunOf(jittered, at('21T10:00'));
  expect(next?.at.getTime()).toBeGreaterThan(at('22T03:00').getTime());
  expect(next?.at.getTime()).toBeLessThan(at('22T04:00').getTime());
  expect(nextRunOf(jittered, at('21T11:00'))).toEqual(next);
});
