import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { JobRecord } from '../../src/history/records.js';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import { holdNextPause, resumeHeld, startHeldInPause, untilHeldInPause } from '../support/held-job.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { onceIn, TestDaemon } from '../support/test-daemon.js';
import { expectRunning, type GuestSettings, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** Many guests of one daemon: two real ones, some that answer slowly and can't be backed up, many that are not there. */

const concurrency = 3;
const slowNames = ['slow1', 'slow2', 'slow3', 'slow4'];
const absentNames = Array.from({ length: 16 }, (_, n) => `absent${n + 1}`);

let house: TestHouse;
let guests: RealGuest[];
let proxies: MconsoleProxy[];
const fakes: FakeGuest[] = [];

beforeAll(async () => {
  house = await TestHouse.build();
  guests = [await house.boot(), await house.boot()];
  proxies = await Promise.all(
    guests.map(({ socketPath }, n) =>
      startMconsoleProxy({ listenPath: join(house.dir, `p${n}`), guestSocketPath: socketPath }),
    ),
  );
  for (const name of slowNames) {
    const disk = join(house.dir, `${name}.img`);
    await writeFile(disk, Buffer.alloc(1024 * 1024));
    const misbehave = [{ on: 'version', fault: { kind: 'delayAnswer', delayMs: 400 } as const }];
    const dir = join(house.dir, name);
    fakes.push(await startFakeGuest({ dir, disks: { ubd0: disk }, cpus: 2, misbehave }));
  }
});
afterAll(async () => {
  await Promise.all([...proxies.map((proxy) => proxy.close()), ...fakes.map((fake) => fake.stop())]);
  await house.remove();
});
afterEach(async () => {
  try {
    await house.expectAllWell();
  } finally {
    house.killCommands();
    await Promise.all(proxies.map(resumeHeld));
  }
});

function realGuests(): Record<string, GuestSettings> {
  return Object.fromEntries(
    guests.map((guest, n) => [`real${n + 1}`, settingsOf(guest, { mconsole: join(house.dir, `p${n}`) })]),
  );
}

const guestAt = (name: string): GuestSettings => ({
  mconsole: join(house.dir, name, 'mconsole'),
  disks: { ubd0: join(house.dir, `${name}.img`) },
});

test('of many guests due at once never more than the limit are worked on, each gets its record, and no failure ends the daemon', async () => {
  const others = Object.fromEntries([...slowNames, ...absentNames].map((name) => [name, guestAt(name)]));
  const all = { ...others, ...realGuests() };
  const defaults = { timezone: 'UTC', pauseBudget: '60s', schedule: onceIn(5) };
  await house.configure(all, { concurrency, defaults });
  const daemon = await TestDaemon.start(house);
  const jobs = await waitFor('every guest to have its job', async () => {
    const found = await house.jobs();
    const areAllThere = found.length >= Object.keys(all).length;
    return areAllThere && found.every(({ status }) => status !== 'running') ? found : undefined;
  });
  await daemon.end();
  expect(jobs.map(({ guest }) => guest).sort()).toEqual(Object.keys(all).sort());
  for (const { guest, trigger, status, error } of jobs) {
    const isReal = guest?.startsWith('real');
    expect({ guest, trigger, status }).toEqual({
      ...{ guest, trigger: 'schedule', status: isReal ? 'success' : 'failed' },
    });
    if (guest?.startsWith('slow')) expect(error?.code).toBe('GuestHasSeveralCpus');
  }
  expect(mostAtOnce(jobs)).toBeLessThanOrEqual(concurrency);
  // The slow ones are there for this: a limit of one would pass the line above as well.
  expect(mostAtOnce(jobs)).toBeGreaterThan(1);
  for (const fake of fakes) expect(fake.pausedIntervals()).toEqual([]);
});

test('two guests that stand still at the same time are resumed each by its own command, and both snapshots are good', async () => {
  await house.configure(realGuests());
  const [first, second] = guests as [RealGuest, RealGuest];
  const [ofFirst, ofSecond] = proxies as [MconsoleProxy, MconsoleProxy];
  const one = await startHeldInPause(ofFirst, () => house.start(['snapshot', 'real1']));
  const two = await startHeldInPause(ofSecond, () => house.start(['snapshot', 'real2']));
  await resumeHeld(ofFirst);
  expect(await one.exited).toMatchObject({ exitCode: 0, stderr: '' });
  await expectRunning(first);
  await expectStandingStill(second);
  await resumeHeld(ofSecond);
  expect(await two.exited).toMatchObject({ exitCode: 0, stderr: '' });
});

test('of two guests due at once the second does not wait for a long pause of the first, and both snapshots are good', async () => {
  await Promise.all(proxies.map(holdNextPause));
  const defaults = { timezone: 'UTC', pauseBudget: '60s', schedule: onceIn(4) };
  await house.configure(realGuests(), { concurrency: 2, defaults });
  const daemon = await TestDaemon.start(house);
  const early = await Promise.race(proxies.map(async (proxy, n) => untilHeldInPause(proxy).then(() => n)));
  const late = 1 - early;
  const [earlyGuest, lateGuest] = [guests[early], guests[late]] as [RealGuest, RealGuest];
  const [ofEarly, ofLate] = [proxies[early], proxies[late]] as [MconsoleProxy, MconsoleProxy];
  await untilHeldInPause(ofLate);
  await expectStandingStill(earlyGuest);
  await resumeHeld(ofEarly);
  await expectRunning(earlyGuest);
  await expectStandingStill(lateGuest);
  await resumeHeld(ofLate);
  await daemon.untilLogged(/^backup done$/, 1);
  await daemon.end();
  for (const name of ['real1', 'real2']) expect((await house.newestJob(name)).status).toBe('success');
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
