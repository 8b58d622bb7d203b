import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { holdNextPause, resumeHeld, startHeldInPause, untilHeldInPause } from '../support/held-job.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { onceIn, TestDaemon } from '../support/test-daemon.js';
import { expectRunning, type GuestSettings, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** The daemon and one guest: its slots, its signals, its config, its death, and whoever else works on the guest. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;

beforeAll(async () => {
  house = await TestHouse.build();
  guest = await house.boot();
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
});
afterAll(async () => {
  await proxy.close();
  await house.remove();
});
afterEach(async () => {
  try {
    await house.expectAllWell();
  } finally {
    house.killCommands();
    await resumeHeld(proxy);
  }
});

const one = (more: Record<string, unknown>): GuestSettings =>
  settingsOf(guest, { mconsole: proxy.socketPath, keep: { last: 2 }, ...more });
/** A guest whose every job fails in its preflight. */
const absent = (schedule: string): GuestSettings => ({
  mconsole: join(house.dir, 'nobody'),
  disks: { ubd0: join(house.dir, 'no.img') },
  schedule,
});
const everySecond = '* * * * * *';
const jobCount = async (of?: string) => (await house.jobs(of)).length;

/** The newest job of a guest, once it has ended. */
function endedJob(of: string, after: number) {
  return waitFor(`job ${after + 1} of ${of} to end`, async () => {
    const jobs = await house.jobs(of);
    return jobs.length > after && jobs[0]?.status !== 'running' ? jobs[0] : undefined;
  });
}

test('a guest that is due every second is backed up again and again, by the schedule', async () => {
  await house.configure({ one: one({ schedule: everySecond }) });
  const daemon = await TestDaemon.start(house);
  await daemon.untilLogged(/^backup done$/, 2);
  await daemon.end();
  const jobs = await house.jobs('one');
  expect(jobs.filter(({ status }) => status === 'success').length).toBeGreaterThanOrEqual(3);
  for (const { trigger, status, error } of jobs) {
    if (status === 'skipped') expect(error).toMatchObject({ code: 'Interrupted' });
    expect({ trigger, status }).toMatchObject({
      trigger: 'schedule',
      // The last one may have been called off before it began.
      status: expect.stringMatching(/^(success|interrupted|skipped)$/),
    });
  }
  expect((await house.listed()).length).toBeLessThanOrEqual(2);
});

describe('ended', () => {
  test('by SIGTERM while the guest stands still, it resumes the guest first, undoes the job and exits 0', async () => {
    await holdNextPause(proxy);
    await house.configure({ one: one({ schedule: onceIn(4) }) });
    const daemon = await TestDaemon.start(house);
    await untilHeldInPause(proxy);
    const before = await house.listed();
    daemon.kill('SIGTERM');
    await daemon.untilLogged(/^ending/);
    await resumeHeld(proxy);
    await daemon.ended();
    await expectRunning(guest);
    expect(await house.newestJob('one')).toMatchObject({
      ...{ status: 'interrupted', trigger: 'schedule', error: { code: 'Interrupted' } },
    });
    expect(await house.listed()).toEqual(before);
  });

  test('by kill -9 while the guest stands still, it leaves a guest that runs, and its next start recovers', async () => {
    await holdNextPause(proxy);
    await house.configure({ one: one({ schedule: onceIn(4) }) });
    const daemon = await TestDaemon.start(house);
    await untilHeldInPause(proxy);
    const { job } = await house.newestJob('one');
    await daemon.killed();
    await resumeHeld(proxy);
    await expectRunning(guest);
    expect(await house.incomings()).toHaveLength(1);

    const next = await TestDaemon.start(house);
    expect(await next.untilLogged(/^recovered$/)).toMatchObject({
      ...{ closedJobs: [job], discarded: [`one/${job}`] },
    });
    await next.end();
    // The slot had begun: it is not due again.
    expect(await house.newestJob('one')).toMatchObject({ job, status: 'interrupted' });
  });
});

describe('several of us', () => {
  test('a second daemon on the same state is refused at once, by exit 11', async () => {
    await house.configure({ one: one({ schedule: null }) });
    const daemon = await TestDaemon.start(house);
    const second = await house.run(['daemon']);
    expect(second.exitCode).toBe(11);
    expect(second.stderr).toContain(`umlsnap daemon (pid ${daemon.pid})`);
    await daemon.end();
  });

  test('a command on the guest that the daemon works on is refused at once by exit 11, or waits with --wait', async () => {
    await holdNextPause(proxy);
    await house.configure({ one: one({ schedule: onceIn(4) }) });
    const daemon = await TestDaemon.start(house);
    await untilHeldInPause(proxy);
    const before = await jobCount();
    const refused = await house.run(['snapshot', 'one']);
    expect(refused.exitCode).toBe(11);
    expect(refused.stderr).toContain(`umlsnap backup (pid ${daemon.pid})`);
    const waiting = house.start(['--json', 'snapshot', 'one', '--wait']);
    await expect(waiting.waitForOutput(/./, 2000)).rejects.toThrow(/in vain/);
    expect(await jobCount()).toBe(before);
    await resumeHeld(proxy);
    expect(await waiting.exited).toMatchObject({ exitCode: 0, stderr: '' });
    await daemon.end();
    const [requested, scheduled] = await house.jobs('one');
    expect([requested, scheduled]).toMatchObject([
      { trigger: 'request', status: 'success' },
      { trigger: 'schedule', status: 'success' },
    ]);
  });

  test('a slot whose guest somebody else works on is recorded as skipped, and the daemon goes on', async () => {
    await house.configure({ one: one({ schedule: null }) });
    const cli = await startHeldInPause(proxy, () => house.start(['snapshot', 'one']));
    await house.configure({ one: one({ schedule: onceIn(4) }) });
    const daemon = await TestDaemon.start(house);
    await daemon.untilLogged(/^backup skipped/);
    await resumeHeld(proxy);
    expect(await cli.exited).toMatchObject({ exitCode: 0 });
    const [skipped, manual] = await house.jobs('one');
    expect(skipped).toMatchObject({ trigger: 'schedule', status: 'skipped', error: { code: 'Busy' } });
    expect(manual).toMatchObject({ trigger: 'manual', status: 'success' });
    await house.configure({ one: one({ schedule: onceIn(3) }) });
    await daemon.reload();
    expect(await endedJob('one', await jobCount('one'))).toMatchObject({
      trigger: 'schedule',
      status: 'success',
    });
    await daemon.end();
  });
});

describe('a config read again on SIGHUP', () => {
  test('adds guests, changes schedules, and takes guests out', async () => {
    await house.configure({ one: one({ schedule: null }) });
    const daemon = await TestDaemon.start(house);
    const before = await jobCount('one');
    await house.configure({ one: one({ schedule: onceIn(3) }), two: absent(everySecond) });
    expect(await daemon.reload()).toMatchObject({ scheduled: ['one', 'two'] });
    expect(await endedJob('one', before)).toMatchObject({ status: 'success' });
    expect(await endedJob('two', 1)).toMatchObject({ status: 'failed' });

    await house.configure({ one: one({ schedule: everySecond }) });
    expect(await daemon.reload()).toMatchObject({ scheduled: ['one'] });
    await endedJob('one', (await jobCount('one')) + 1);
    const ofTwo = await jobCount('two');
    await endedJob('one', (await jobCount('one')) + 1);
    expect(await jobCount('two')).toBe(ofTwo);
    await daemon.end();
  });

  test('that has a problem is told with its place, and the old one stays in force', async () => {
    await house.configure({ two: absent(everySecond) });
    const daemon = await TestDaemon.start(house);
    await writeFile(house.configFile, '{ "guests": { "two": { "schedule": "nonsense" } } }');
    const told = await daemon.reload(/The old config stays in force/);
    expect(told.msg).toMatch(/config\.yaml:1:\d+ guests\.two\.schedule/);
    await endedJob('two', (await jobCount('two')) + 1);
    await daemon.end();
    await house.configure({ two: absent(everySecond) });
  });
});

describe('slots that nobody was there for', () => {
  test('are made up for by one catch-up, however many there were, and only once', async () => {
    const dueAt = new Date(Date.now() - 5 * 60_000);
    dueAt.setUTCSeconds(0, 0);
    const newest = dueAt.toISOString();
    await house.configure({ one: one({ schedule: `${dueAt.getUTCMinutes()} * * * *` }) });
    const hoursBefore = (hours: number) => new Date(dueAt.getTime() - hours * 3_600_000).toISOString();
    await house.withHistory((history) => history.recordSlot('one', hoursBefore(3)));
    const before = await jobCount('one');
    const daemon = await TestDaemon.start(house);
    expect(await daemon.untilLogged(/^backup done$/)).toMatchObject({ trigger: 'catchUp', slot: newest });
    expect(daemon.logged(/^schedule: missed/)).toMatchObject([
      { missed: { slots: 2, upTo: hoursBefore(1) } },
    ]);
    await daemon.end();
    expect(await house.withHistory((history) => history.lastSlot('one'))).toBe(newest);

    const again = await TestDaemon.start(house);
    await again.end();
    expect(await jobCount('one')).toBe(before + 1);
    expect(await house.newestJob('one')).toMatchObject({ trigger: 'catchUp', status: 'success' });
  });

  test('count from when the daemon first saw the guest, so that its very first slot can be made up for', async () => {
    await house.configure({ fresh: absent('0 4 * * *') });
    const from = new Date().toISOString();
    await (await TestDaemon.start(house)).end();
    const recorded = await house.withHistory((history) => history.lastSlot('fresh'));
    expect(recorded && recorded >= from && recorded <= new Date().toISOString()).toBe(true);
    // As if the daemon had been down from then on, for two days.
    await house.withHistory((history) =>
      history.recordSlot('fresh', new Date(Date.now() - 2 * 86_400_000).toISOString()),
    );
    const daemon = await TestDaemon.start(house);
    expect(await endedJob('fresh', 0)).toMatchObject({ trigger: 'catchUp', status: 'failed' });
    await daemon.end();
    expect(await jobCount('fresh')).toBe(1);
  });
});
