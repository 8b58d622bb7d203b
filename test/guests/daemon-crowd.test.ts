import { writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { JobRecord } from '../../src/history/records.js';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import { holdNextPause, resumeHeld, startHeldInPause, untilHeldInPause } from '../support/held-job.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { expectRuns, setScene, settingsOf } from '../support/scene.js';
import { dueAtOnce, TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/** Many guests of one daemon: two real ones, some that answer slowly and can't be backed up, many that are not there. */

const concurrency = 3;
const slowNames = ['slow1', 'slow2'];
const absentNames = Array.from({ length: 16 }, (_, n) => `absent${n + 1}`);

const scene = setScene({ on: 'xfs', proxied: true });
let second: RealGuest;
let ofSecond: MconsoleProxy;
let fakes: FakeGuest[];

beforeAll(async () => {
  second = await scene.boot();
  ofSecond = await startMconsoleProxy({ listenPath: scene.path('q'), guestSocketPath: second.socketPath });
  fakes = await Promise.all(
    slowNames.map(async (name) => {
      const disk = scene.path(`${name}.img`);
      await writeFile(disk, Buffer.alloc(1024 * 1024));
      const misbehave = [{ on: 'version', fault: { kind: 'delayAnswer', delayMs: 400 } as const }];
      return await startFakeGuest({ dir: scene.path(name), disks: { ubd0: disk }, cpus: 2, misbehave });
    }),
  );
});
afterAll(async () => {
  await Promise.all([ofSecond?.close(), ...(fakes ?? []).map((fake) => fake.stop())]);
});
afterEach(async () => {
  try {
    await scene.expectWell();
  } finally {
    scene.killCommands();
    await Promise.all([scene.proxy, ofSecond].map(resumeHeld));
  }
});

const realGuests = () => ({
  real1: scene.settings(),
  real2: settingsOf(second, { mconsole: ofSecond.socketPath }),
});
const guestAt = (name: string) => ({
  mconsole: scene.path(name, 'mconsole'),
  disks: { ubd0: scene.path(`${name}.img`) },
});

test('of many guests due at once never more than the limit are worked on, each gets its record while two stand still, which are resumed each by itself, and no failure ends the daemon', async () => {
  const others = Object.fromEntries([...slowNames, ...absentNames].map((name) => [name, guestAt(name)]));
  const all = { ...others, ...realGuests() };
  const names = Object.keys(all);
  const schedule = await dueAtOnce(scene, ...names);
  await scene.configure(all, { concurrency, defaults: { timezone: 'UTC', pauseBudget: '60s', schedule } });
  await Promise.all([scene.proxy, ofSecond].map(holdNextPause));
  const daemon = await TestDaemon.start(scene);
  await Promise.all([scene.proxy, ofSecond].map(untilHeldInPause));
  const onlyTheyAreAtWork = async () => {
    const jobs = await scene.jobs();
    return jobs.length === names.length && jobs.filter(({ status }) => status === 'running').length === 2;
  };
  await waitFor('every other guest to have its record', onlyTheyAreAtWork, { limitMs: 60_000 });
  await expectStandingStill(second);
  await expectStandingStill(scene.guest);
  await resumeHeld(scene.proxy);
  await expectRuns(scene.guest);
  await expectStandingStill(second);
  await resumeHeld(ofSecond);
  await daemon.untilLogged(/^backup done$/, 1);
  await daemon.end();

  const jobs = await scene.jobs();
  expect(jobs.map(({ guest }) => guest).sort()).toEqual(names.sort());
  for (const { guest, trigger, status, error } of jobs) {
    const isReal = guest?.startsWith('real');
    expect({ guest, trigger, status }).toEqual({
      ...{ guest, trigger: 'schedule', status: isReal ? 'success' : 'failed' },
    });
    if (guest?.startsWith('slow')) expect(error?.code).toBe('GuestHasSeveralCpus');
  }
  // The two that stood still did so side by side, and a limit of one would pass the other line as well.
  expect(mostAtOnce(jobs)).toBeGreaterThan(1);
  expect(mostAtOnce(jobs)).toBeLessThanOrEqual(concurrency);
  for (const fake of fakes) expect(fake.pausedIntervals()).toEqual([]);
});

test('two guests that stand still at the same time are resumed each by its own command, and both snapshots are good', async () => {
  await scene.configure(realGuests());
  const one = await startHeldInPause(scene.proxy, () => scene.start(['snapshot', 'real1']));
  const two = await startHeldInPause(ofSecond, () => scene.start(['snapshot', 'real2']));
  await resumeHeld(scene.proxy);
  expect(await one.exited).toMatchObject({ exitCode: 0, stderr: '' });
  await expectRuns(scene.guest);
  await expectStandingStill(second);
  await resumeHeld(ofSecond);
  expect(await two.exited).toMatchObject({ exitCode: 0, stderr: '' });
});

async function expectStandingStill(guest: RealGuest): Promise<void> {
  await expect(guest.sh('true', 300)).rejects.toThrow(/did not answer/);
}

/** How many of these jobs were at work at the same time, at most. */
function mostAtOnce(jobs: JobRecord[]): number {
  const areAtWork = (at: string) =>
    jobs.filter(({ startedAt, finishedAt }) => startedAt <= at && (finishedAt ?? '') > at).length;
  return Math.max(...jobs.map(({ startedAt }) => areAtWork(startedAt)));
}
