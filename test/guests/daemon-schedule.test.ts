import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { holdNextPause, resumeHeld, startHeldInPause, untilHeldInPause } from '../support/held-job.js';
import { startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { expectRuns, setScene, settingsOf } from '../support/scene.js';
import { dueAtOnce, TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/**
 * The daemon: its slots, its signals, its config, its death, whoever else works on its guest, and a crowd of guests. In this order:
 * a daemon that a test starts is that of those that follow.
 */

const scene = setScene({ on: 'xfs', proxied: true, settings: { keep: { last: 2 } } });
let daemon: TestDaemon;

afterEach(async () => {
  try {
    await resumeHeld(scene.proxy);
    await settle();
    // Two are kept, and they are others by now.
    scene.forgetSnapshots();
    await scene.expectWell(daemon);
  } catch (error) {
    scene.killCommands();
    throw error;
  }
});

/** Nothing is due any more, and what was at work has ended. */
async function settle(): Promise<void> {
  if (!scene.processes().includes(daemon.pid)) return;
  // Where one comes after the other, the next may be about to begin: it is held, and none begins beside it.
  const { guests } = JSON.parse(await readFile(scene.config, 'utf8'));
  if (guests.debian?.schedule === everySecond)
    await holdNextPause(scene.proxy).then(() => untilHeldInPause(scene.proxy));
  await scene.configure();
  await daemon.reload();
  await resumeHeld(scene.proxy);
  const isAtWork = async () => (await scene.jobs()).some(({ status }) => status === 'running');
  await waitFor('its jobs to end', async () => !(await isAtWork()), { limitMs: 120_000 });
}

const everySecond = '* * * * * *';
const isDue = (schedule: string) => ({ debian: scene.settings({ schedule }) });
/** Hourly, some minutes ago. */
const dueAt = new Date(Date.now() - 5 * 60_000);
dueAt.setUTCSeconds(0, 0);
const overdue = `${dueAt.getUTCMinutes()} * * * *`;
const hoursBefore = (hours: number) => new Date(dueAt.getTime() - hours * 3_600_000).toISOString();

test('a guest that is due every second is backed up again and again, until SIGTERM: that resumes the guest first, undoes the job and exits 0', async () => {
  await scene.configure(isDue(everySecond));
  daemon = await TestDaemon.start(scene);
  await daemon.untilLogged(/^backup done$/, 2);
  await holdNextPause(scene.proxy);
  await untilHeldInPause(scene.proxy);
  const before = await scene.snapshots();
  expect(before.length).toBeLessThanOrEqual(2);
  daemon.kill('SIGTERM');
  await daemon.untilLogged(/^ending/);
  await resumeHeld(scene.proxy);
  await daemon.ended();
  await expectRuns(scene.guest);
  expect(await scene.snapshots()).toEqual(before);
  const [newest, ...others] = await scene.jobs('debian');
  expect(newest).toMatchObject({
    ...{ status: 'interrupted', trigger: 'schedule', error: { code: 'Interrupted' } },
  });
  expect(others.length).toBeGreaterThanOrEqual(3);
  for (const job of others) expect(job).toMatchObject({ trigger: 'schedule', status: 'success' });
});

test('three slots that nobody was there for are one catch-up, and ended by kill -9 in its pause the daemon leaves a guest that runs, and its next start recovers, beside which no second one starts (fault 69)', async () => {
  await scene.configure(isDue(overdue));
  await scene.withHistory((history) => history.recordSlot('debian', hoursBefore(3)));
  await holdNextPause(scene.proxy);
  daemon = await TestDaemon.start(scene);
  await untilHeldInPause(scene.proxy);
  const { missed } = await daemon.untilLogged(/^schedule: missed/);
  expect(missed).toMatchObject({ name: 'debian', slots: 2, upTo: hoursBefore(1) });
  expect(await scene.withHistory((history) => history.lastSlot('debian'))).toBe(hoursBefore(0));
  const { job } = await scene.newestJob('debian');
  await daemon.killed();
  await resumeHeld(scene.proxy);
  await expectRuns(scene.guest);
  expect(await scene.incomings()).toHaveLength(1);

  daemon = await TestDaemon.start(scene);
  expect(await daemon.untilLogged(/^recovered$/)).toMatchObject({
    ...{ closedJobs: [job], discarded: [`debian/${job}`] },
  });
  const second = await scene.run('daemon');
  expect(second.exitCode, 'a second daemon on the same state is refused at once').toBe(11);
  expect(second.stderr).toContain(`already (pid ${daemon.pid}), and one is enough`);
  // The slot had begun: it is not due again.
  expect(await scene.newestJob('debian')).toMatchObject({ job, status: 'interrupted', trigger: 'catchUp' });
});

test('a slot whose guest somebody else works on is recorded as skipped, and the daemon goes on (fault 69)', async () => {
  const before = (await scene.jobs()).length;
  const alone = await scene.variant({ pauseBudget: '50s' });
  const cli = await startHeldInPause(scene.proxy, () => alone.startSnapshot());
  await scene.configure(isDue(everySecond));
  await daemon.reload();
  await daemon.untilLogged(/^backup skipped/);
  await resumeHeld(scene.proxy);
  expect(await cli.exited).toMatchObject({ exitCode: 0 });
  await daemon.untilLogged(/^backup done$/);
  const jobs = (await scene.jobs()).reverse().slice(before);
  expect(jobs[0]).toMatchObject({ trigger: 'manual', status: 'success' });
  expect(jobs[1]).toMatchObject({ trigger: 'schedule', status: 'skipped', error: { code: 'Busy' } });
  expect(jobs).toContainEqual(expect.objectContaining({ trigger: 'schedule', status: 'success' }));
});

test('a config read again on SIGHUP adds guests and takes them out; one that has a problem is told with its place, and the old one stays in force', async () => {
  const before = (await scene.jobs('debian')).length;
  // Its every job fails in its preflight.
  const two = { mconsole: 'nobody', disks: { ubd0: scene.path('no.img') }, schedule: everySecond };
  await scene.configure({ ...isDue('0 0 1 1 *'), two });
  expect(await daemon.reload()).toMatchObject({ scheduled: ['debian', 'two'] });
  const failed = await daemon.untilLogged(/^backup failed$/);
  expect(failed).toMatchObject({ guest: 'two' });
  expect(await scene.jobs('debian')).toHaveLength(before);

  await writeFile(scene.config, '{ "guests": { "two": { "schedule": "nonsense" } } }');
  const told = await daemon.reload(/The old config stays in force/);
  expect(told.msg).toMatch(/config\.yaml:1:\d+ guests\.two\.schedule/);
  await daemon.untilLogged(/^backup failed$/, daemon.logged(/^backup failed$/).length);

  const done = daemon.logged(/^backup done$/).length;
  await scene.configure(isDue(everySecond));
  expect(await daemon.reload()).toMatchObject({ scheduled: ['debian'] });
  await daemon.untilLogged(/^backup done$/, done);
  const { length } = await scene.jobs('two');
  await daemon.untilLogged(/^backup done$/, done + 1);
  expect(await scene.jobs('two')).toHaveLength(length);
});

test('of many guests due at once never more than the limit are worked on, each gets its record while two stand still, which are resumed each by itself, and no failure ends the daemon', async () => {
  await daemon.end();
  const second = await scene.boot();
  const { socketPath: guestSocketPath } = second;
  const ofSecond = await startMconsoleProxy({ listenPath: scene.path('q'), guestSocketPath });
  onTestFinished(() => ofSecond.close());
  const concurrency = 3;
  const names = Array.from({ length: 18 }, (_, n) => `absent${n + 1}`);
  const guests = {
    ...Object.fromEntries(names.map((name) => [name, { mconsole: name, disks: { ubd0: scene.path(name) } }])),
    ...{ real1: scene.settings(), real2: settingsOf(second, { mconsole: ofSecond.socketPath }) },
  };
  const schedule = await dueAtOnce(scene, ...Object.keys(guests));
  await scene.configure(guests, { concurrency, defaults: { timezone: 'UTC', pauseBudget: '60s', schedule } });
  await Promise.all([scene.proxy, ofSecond].map(holdNextPause));
  daemon = await TestDaemon.start(scene);
  await Promise.all([scene.proxy, ofSecond].map(untilHeldInPause));
  await daemon.untilLogged(/^backup failed$/, names.length - 1);
  const expectStandingStill = async (guest: RealGuest) => {
    await expect(guest.sh('true', 300)).rejects.toThrow(/did not answer/);
  };
  await expectStandingStill(scene.guest);
  await resumeHeld(scene.proxy);
  await expectRuns(scene.guest);
  await expectStandingStill(second);
  await resumeHeld(ofSecond);
  await daemon.untilLogged(/^backup done$/, 1);
  await daemon.end();

  const jobs = (await scene.jobs()).filter(({ guest }) => guest !== null && guest in guests);
  const told = jobs.map(({ guest, trigger, status }) => `${guest} ${trigger} ${status}`);
  const expected = names.map((name) => `${name} schedule failed`);
  expect(told.sort()).toEqual([...expected, 'real1 schedule success', 'real2 schedule success'].sort());
  // The two that stood still did so side by side, and a limit of one would pass the other line as well.
  const atWorkAt = (at: string) =>
    jobs.filter(({ startedAt, finishedAt }) => startedAt <= at && (finishedAt ?? '') > at).length;
  const mostAtWork = Math.max(...jobs.map(({ startedAt }) => atWorkAt(startedAt)));
  expect(mostAtWork).toBeGreaterThan(1);
  expect(mostAtWork).toBeLessThanOrEqual(concurrency);
});
