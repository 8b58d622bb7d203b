import { expect, test } from 'vitest';
import type { Work } from '../../src/control/request-desk.js';
import { RunningWorks } from '../../src/control/running-works.js';

test('a job is given up by its name while its work goes on, and no other work with it', async () => {
  const works = new RunningWorks();
  const work = (): Work => ({ signal: new AbortController().signal, publish() {}, put() {}, onJob() {} });
  const underway = (job: string) =>
    works.enter(work(), async ({ signal, onJob }) => {
      onJob({ job, kind: 'backup', guest: 'debian', trigger: 'schedule' });
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
