import { expect, test } from 'vitest';
import { JobRegistry } from '../../src/control/job-registry.js';
import type { Work } from '../../src/control/request-dispatcher.js';
import { CancellableJobs } from '../../src/daemon/cancellable-jobs.js';

const job = { job: 'j', kind: 'backup' as const, guest: 'one', trigger: 'manual' as const };

test('a copy that tells its progress for hours leaves room for how the job ends, and only its last word to late followers', () => {
  const registry = new JobRegistry();
  const live: object[] = [];
  registry.begin(job);
  registry.follow('j', { take: (object) => live.push(object), end: () => {} });
  registry.publish('j', { type: 'progress', phase: 'precopy' });
  for (let doneBytes = 1; doneBytes <= 5000; doneBytes++) {
    registry.publish('j', { type: 'progress', phase: 'precopy', doneBytes, totalBytes: 5000 });
  }
  registry.publish('j', { type: 'summary', status: 'success' });
  const late: object[] = [];
  registry.follow('j', { take: (object) => late.push(object), end: () => {} });
  expect(late).toEqual([
    { type: 'progress', phase: 'precopy' },
    { type: 'progress', phase: 'precopy', doneBytes: 5000, totalBytes: 5000 },
    { type: 'summary', status: 'success' },
  ]);
  expect(live).toHaveLength(5002);
});

test('whoever watches the registry is told of every job, from its beginning to its end, once', () => {
  const registry = new JobRegistry();
  const told: string[] = [];
  const stop = registry.watch({
    begun: ({ job }) => told.push(`begun ${job}`),
    said: ({ job }, object) => told.push(`${job} ${JSON.stringify(object)}`),
    ended: ({ job }) => told.push(`ended ${job}`),
  });
  registry.begin(job);
  registry.publish('j', { phase: 'seal' });
  expect(registry.lastOf('j')).toEqual({ phase: 'seal' });
  for (let count = 0; count < 2; count++) registry.end('j');
  stop();
  registry.begin({ ...job, job: 'other' });
  expect(told).toEqual(['begun j', 'j {"phase":"seal"}', 'ended j']);
  expect(registry.lastOf('j')).toBeUndefined();
});

test('a job is given up by its name while its work goes on, and no other work with it', async () => {
  const cancellableJobs = new CancellableJobs();
  const work = (): Work => ({ signal: new AbortController().signal, publish() {}, put() {}, onJob() {} });
  const underway = (name: string) =>
    cancellableJobs.track(work(), async ({ signal, onJob }) => {
      onJob({ ...job, job: name });
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      throw signal.reason;
    });
  const [first, second] = [underway('a'), underway('b')];
  expect(cancellableJobs.cancel('c', 'nobody')).toBe(false);
  expect(cancellableJobs.cancel('a', 'the dashboard')).toBe(true);
  await expect(first).rejects.toMatchObject({ code: 'Interrupted', facts: { signal: 'the dashboard' } });
  expect(cancellableJobs.cancel('a', 'the dashboard')).toBe(false);
  expect(cancellableJobs.cancel('b', 'x')).toBe(true);
  await expect(second).rejects.toMatchObject({ facts: { signal: 'x' } });
});
