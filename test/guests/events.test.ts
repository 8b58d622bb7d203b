import { afterAll, afterEach, expect, test } from 'vitest';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { setScene, settingsOf } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/** What a real guest says by itself, and what becomes of a job whose guest says that it ends. */

// The guest is none of the scene's, which expects its own to run on.
const scene = setScene({ on: 'xfs', guest: null, notify: true });
let guest: RealGuest;
afterAll(() => guest?.kill());
afterEach(async () => {
  scene.killCommands();
  await scene.expectWell();
});

const configure = (more: Record<string, unknown>) =>
  scene.configure({ debian: { ...settingsOf(guest), notify: scene.notifySocket, ...more } });

const newestEvent = async () => (await scene.withHistory((history) => history.events({ limit: 1 }))).at(-1);

test('a daemon writes down what a guest says from its boot on, which events shows and follows', async () => {
  const disks = { ubd0: scene.path('none.img') };
  await scene.configure({ debian: { mconsole: 'told', notify: scene.notifySocket, disks } });
  const daemon = await TestDaemon.start(scene, ['debug']);
  await daemon.untilLogged(/^listening to the guest$/);
  guest = await bootGuest({
    ...{ dir: scene.dir, umid: 'told', sizeMiB: 64, fillMiB: 32, writer: 'none', agent: 'busybox' },
    ...{ notifySocket: scene.notifySocket, unlockedDisks: true },
  });
  await daemon.untilLogged(/^the guest booted$/);
  await configure({ mconsole: 'told' });
  await daemon.reload();

  const following = scene.start(['--json', 'events', 'debian', '--follow']);
  await guest.sh(String.raw`printf 'the \033[2J database was upgraded\n' > /proc/mconsole`);
  await following.waitForOutput(/database was upgraded/);
  following.kill('SIGINT');
  expect(await following.exited).toMatchObject({ exitCode: 0, stderr: '' });
  const { stdout, ...listed } = await scene.run('--json', 'events', 'debian');
  const text = expect.stringMatching(/^the .*database was upgraded$/);
  const booted = { type: 'event', guest: 'debian', event: 'booted', text: guest.socketPath };
  const json = [booted, { guest: 'debian', event: 'message', missed: 0, text }];
  expect(listed).toMatchObject({ exitCode: 0, stderr: '', json });
  expect(stdout).not.toContain('\\u001b');

  // Nobody but the guest itself has said where its console is: its umid's directory is in a home that is not ours.
  const frozen = { exitCode: 0, stderr: '', summary: { consistency: 'frozen' } };
  expect(await scene.snapshot('--require', 'frozen')).toMatchObject(frozen);
  // A look gives the agent a second or so to answer.
  const answered = await waitFor('its agent', async () => {
    const found = (await scene.run('--json', 'status')).json.at(-1);
    return found?.agent === true && found;
  });
  expect(answered).toMatchObject({ guest: 'debian', state: 'running' });
  await daemon.end();
});

/** A job that its guest ends in the middle of the bulk copy, which would take half a minute. */
async function jobEndedBy(end: () => Promise<unknown>) {
  await configure({ capture: 'precopy', precopyRate: '1MiB/s' });
  const cli = scene.startSnapshot();
  await cli.waitForOutput(/"doneBytes":[1-9]/);
  await end();
  const { exitCode, json } = await cli.exited;
  expect(exitCode).toBe(1);
  return json.at(-1);
}

test('a job is given up at once when its guest reboots, and so it is told', async () => {
  const summary = await jobEndedBy(() => guest.sh('(sleep 0.2; reboot -f) > /dev/null 2>&1 &'));
  expect(summary).toMatchObject({
    ...{ status: 'failed', resumed: true, error: { code: 'GuestRebooted', phase: 'precopy' } },
  });
  await waitFor('its event', async () => (await newestEvent())?.type === 'booted');
});

test('a job is given up at once when its guest panics, and so it is told', async () => {
  const isUp = async () => (await guest.console()).match(/test guest is up/g)?.length === 2;
  await waitFor('the guest to be up again', isUp);
  const summary = await jobEndedBy(async () => {
    void guest.mconsole('sysrq c').catch(() => {}); // nobody answers it
  });
  expect(summary).toMatchObject({
    ...{ status: 'failed', resumed: false, error: { code: 'GuestPanicked', phase: 'precopy' } },
  });
  expect(await newestEvent()).toMatchObject({ type: 'panic' });
  const details = await scene.withHistory((history) => history.job(String(summary?.job)));
  const log = (details?.log ?? []).map(({ level, text }) => `${level} ${text}`).join('\n');
  expect(log).toMatch(/\nwarn guest, panic: [\s\S]*^\w+ GuestPanicked in precopy: /m);
});
