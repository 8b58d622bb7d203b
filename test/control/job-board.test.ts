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

test('whoever watches the board is told of every job, from its beginning to its end, once', () => {
  const board = new JobBoard();
  const told: string[] = [];
  const stop = board.watch({
    begun: ({ job }) => told.push(`begun ${job}`),
    said: ({ job }, object) => told.push(`${job} ${JSON.stringify(object)}`),
    ended: ({ job }) => told.push(`ended ${job}`),
  });
  board.begin({ job: 'a', kind: 'backup', guest: 'debian', trigger: 'manual' });
  board.publish('a', { phase: 'seal' });
  expect(board.lastOf('a')).toEqual({ phase: 'seal' });
  board.end('a');
  board.end('a');
  stop();
  board.begin({ job: 'b', kind: 'backup', guest: 'debian', trigger: 'manual' });
  expect(told).toEqual(['begun a', 'a {"phase":"seal"}', 'ended a']);
  expect(board.lastOf('a')).toBeUndefined();
});
