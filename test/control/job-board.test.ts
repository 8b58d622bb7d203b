import { expect, test } from 'vitest';
import { JobBoard } from '../../src/control/job-board.js';

const job = { job: 'j', kind: 'backup' as const, guest: 'one', trigger: 'manual' as const };

test('a copy that tells its progress for hours leaves room for how the job ends, and only its last word to late followers', () => {
  const board = new JobBoard();
  const live: object[] = [];
  board.begin(job);
  board.follow('j', { take: (object) => live.push(object), end: () => {} });
  board.publish('j', { type: 'progress', phase: 'precopy' });
  for (let doneBytes = 1; doneBytes <= 5000; doneBytes++) {
    board.publish('j', { type: 'progress', phase: 'precopy', doneBytes, totalBytes: 5000 });
  }
  board.publish('j', { type: 'summary', status: 'success' });
  const late: object[] = [];
  board.follow('j', { take: (object) => late.push(object), end: () => {} });
  expect(late).toEqual([
    { type: 'progress', phase: 'precopy' },
    { type: 'progress', phase: 'precopy', doneBytes: 5000, totalBytes: 5000 },
    { type: 'summary', status: 'success' },
  ]);
  expect(live).toHaveLength(5002);
});
