import { expect, test } from 'vitest';
import { JobBoard } from '../../src/control/job-board.js';
import type { Work } from '../../src/control/request-desk.js';
import { RunningWorks } from '../../src/daemon/running-works.js';

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
  board.begin(job);
  board.publish('j', { phase: 'seal' });
  expect(board.lastOf('j')).toEqual({ phase: 'seal' });
  for (let count = 0; count < 2; count++) board.end('j');
  stop();
  board.begin({ ...job, job: 'other' });
  expect(told).toEqual(['begun j', 'j {"phase":"seal"}', 'ended j']);
  expect(board.lastOf('j')).toBeUndefined();
});

test('a job is given up by its name while its work goes on, and no other work with it', async () => {
  const works = new RunningWorks();
  const work = (): Work => ({ signal: new AbortController().signal, publish() {}, put() {}, onJob() {} });
  const underway = (name: string) =>
    works.enter(work(), async ({ signal, onJob }) => {
      onJob({ ...job, job: name });
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      throw signal.reason;
    });
  const [first, second] = [underway('a'), underway('b')];
  expect(works.cancel('c', 'nobody')).toBe(false);
  expect(works.cancel('a', 'the dashboard')).toBe(true);
  await expect(first).rejects.toMatchObject({ code: 'Interrupted', facts: { signal: 'the dashboard' } });
  expect(works.cancel('a', 'the dashboard')).toBe(false);
  expect(works.cancel('b', 'x')).toBe(true);
  await expect(second).rejects.toMatchObject({ facts: { signal: 'x' } });
});
