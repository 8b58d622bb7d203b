import { writeFile } from 'node:fs/promises';
import { afterEach, expect, test } from 'vitest';
import { holdNextPause, resumeHeld, startHeldInPause, untilHeldInPause } from '../support/held-job.js';
import { expectRuns, setScene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/**
 * The daemon and one guest: its slots, its signals, its config, its death, and whoever else works on the guest. In this order: a
 * daemon that a test starts is that of those that follow.
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
  await scene.configure();
  await daemon.reload();
  const isAtWork = async () => (await scene.jobs()).some(({ status }) => status === 'running');
  await waitFor('its jobs to end', async () => !(await isAtWork()), { limitMs: 120_000 });
}

const everySecond = '* * * * * *';
const isDue = (schedule: string) => ({ debian: scene.settings({ schedule }) });
/** A guest whose every job fails in its preflight. */
const absent = (schedule: string) => ({
  mconsole: scene.path('nobody'),
  disks: { ubd0: scene.path('no.img') },
  schedule,
});
const jobCount = async (of: string) => (await scene.jobs(of)).length;

/** The newest job of a guest, once it has ended. */
function endedJob(of: string, after: number) {
  const newest = async () => {
    const jobs = await scene.jobs(of);
    return jobs.length > after && jobs[0]?.status !== 'running' ? jobs[0] : undefined;
  };
  return waitFor(`job ${after + 1} of ${of} to end`, newest, { limitMs: 120_000 });
}

/** Hourly, some minutes ago. */
const dueAt = new Date(Date.now() - 5 * 60_000);
dueAt.setUTCSeconds(0, 0);
const overdue = `${dueAt.getUTCMinutes()} * * * *`;
/** Daily, and never at this hour. */
const daily = `0 ${(dueAt.getHours() + 12) % 24} * * *`;
const hoursBefore = (hours: number) => new Date(dueAt.getTime() - hours * 3_600_000).toISOString();
const recordSlot = (guest: string, slot: string) =>
  scene.withHistory((history) => history.recordSlot(guest, slot));
const lastSlot = (guest: string) => scene.withHistory((history) => history.lastSlot(guest));

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

test('ended by kill -9 while the guest stands still, it leaves a guest that runs, and its next start recovers', async () => {
  await scene.configure(isDue(overdue));
  await recordSlot('debian', hoursBefore(3));
  await holdNextPause(scene.proxy);
  daemon = await TestDaemon.start(scene);
  await untilHeldInPause(scene.proxy);
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
  expect(second.stderr).toContain(`umlsnap daemon (pid ${daemon.pid})`);
  // The slot had begun: it is not due again.
  expect(await scene.newestJob('debian')).toMatchObject({ job, status: 'interrupted', trigger: 'catchUp' });
});

test('a slot whose guest somebody else works on is recorded as skipped, and the daemon goes on', async () => {
  const before = await jobCount('debian');
  const alone = await scene.variant({ pauseBudget: '50s' });
  const cli = await startHeldInPause(scene.proxy, () => alone.startSnapshot());
  await scene.configure(isDue(everySecond));
  await daemon.reload();
  await daemon.untilLogged(/^backup skipped/);
  await resumeHeld(scene.proxy);
  expect(await cli.exited).toMatchObject({ exitCode: 0 });
  await daemon.untilLogged(/^backup done$/);
  const jobs = (await scene.jobs('debian')).reverse().slice(before);
  expect(jobs[0]).toMatchObject({ trigger: 'manual', status: 'success' });
  expect(jobs[1]).toMatchObject({ trigger: 'schedule', status: 'skipped', error: { code: 'Busy' } });
  expect(jobs).toContainEqual(expect.objectContaining({ trigger: 'schedule', status: 'success' }));
});

test('a config read again on SIGHUP adds guests, changes schedules, and takes guests out', async () => {
  const before = await jobCount('debian');
  await scene.configure({ ...isDue('0 0 1 1 *'), two: absent(everySecond) });
  expect(await daemon.reload()).toMatchObject({ scheduled: ['debian', 'two'] });
  expect(await endedJob('two', 1)).toMatchObject({ status: 'failed' });
  expect(await jobCount('debian')).toBe(before);

  await scene.configure(isDue(everySecond));
  expect(await daemon.reload()).toMatchObject({ scheduled: ['debian'] });
  expect(await endedJob('debian', before)).toMatchObject({ status: 'success' });
  const ofTwo = await jobCount('two');
  await endedJob('debian', (await jobCount('debian')) + 1);
  expect(await jobCount('two')).toBe(ofTwo);
});

test('a config read again that has a problem is told with its place, and the old one stays in force', async () => {
  await scene.configure({ two: absent(everySecond) });
  await daemon.reload();
  await writeFile(scene.config, '{ "guests": { "two": { "schedule": "nonsense" } } }');
  const told = await daemon.reload(/The old config stays in force/);
  expect(told.msg).toMatch(/config\.yaml:1:\d+ guests\.two\.schedule/);
  await endedJob('two', (await jobCount('two')) + 1);
});

test('slots that nobody was there for are made up for by one catch-up, however many there were, also the very first ones of a guest', async () => {
  const from = new Date().toISOString();
  await scene.configure({ ...isDue(overdue), fresh: absent(daily) });
  await daemon.reload();
  const recorded = await waitFor('the guest to be seen for the first time', () => lastSlot('fresh'));
  expect(recorded >= from && recorded <= new Date().toISOString()).toBe(true);
  await daemon.end();
  const before = await jobCount('debian');
  expect(await jobCount('fresh')).toBe(0);
  // As if the daemon had been down from then on, for two days, and for three slots of the other.
  await recordSlot('fresh', new Date(Date.now() - 2 * 86_400_000).toISOString());
  await recordSlot('debian', hoursBefore(3));

  daemon = await TestDaemon.start(scene);
  const slot = dueAt.toISOString();
  expect(await daemon.untilLogged(/^backup done$/)).toMatchObject({ trigger: 'catchUp', slot });
  expect(await endedJob('fresh', 0)).toMatchObject({ trigger: 'catchUp', status: 'failed' });
  const missed = daemon.logged(/^schedule: missed/).map((line) => line.missed);
  const ofDebian = { name: 'debian', slots: 2, upTo: hoursBefore(1) };
  expect(missed).toContainEqual(expect.objectContaining(ofDebian));
  await daemon.end();
  expect(await lastSlot('debian')).toBe(slot);
  expect(await jobCount('debian')).toBe(before + 1);
  expect(await jobCount('fresh')).toBe(1);
});
