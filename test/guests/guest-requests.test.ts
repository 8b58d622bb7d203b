import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { setScene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/** What a real guest asks of one daemon by its /proc/mconsole. It may ask five times in a row, and these tests do. */

const scene = setScene({ on: 'xfs', notify: true, guest: { agent: 'busybox' } });
let daemon: TestDaemon;

beforeAll(async () => {
  // Its three processes: before they are there, a snapshot would be taken without it.
  await waitFor('its agent', async () => Number(await scene.guest.sh('pidof umlsnap-agent | wc -w')) >= 3);
});
afterEach(() => scene.expectWell(daemon));
afterAll(() => daemon?.end());

async function allow(...requests: string[]): Promise<void> {
  await scene.configure({ debian: scene.settings({ requests }) });
  await daemon.reload();
}

const ask = (words: string) => scene.guest.sh(`echo 'umlsnap request ${words}' > /proc/mconsole`);
const replyTo = (id: number) =>
  waitFor(
    `the reply to ${id}`,
    async () => new RegExp(`umlsnap reply id=${id} .*`).exec(await scene.guest.sh('dmesg'))?.[0],
  );

test('a job that is due as soon as the daemon starts has the agent of its guest heard', async () => {
  // Twelve hours off, or the run would be on time where the tests run at that hour.
  const due = { schedule: `0 ${(new Date().getHours() + 12) % 24} * * *`, require: 'frozen' };
  await scene.configure({ debian: scene.settings(due) });
  await scene.withHistory((history) => history.recordSlot('debian', '2026-01-01T00:00:00.000Z'));
  daemon = await TestDaemon.start(scene, ['debug']);
  expect(await daemon.untilLogged(/^backup (done|failed)/)).toMatchObject({
    ...{ msg: 'backup done', trigger: 'catchUp', consistency: 'frozen', error: null },
  });
});

test('a guest that may ask for it gets a snapshot of itself, with its label, by the agent that the daemon hears for it', async () => {
  await allow('snapshot', 'status');
  await ask('type=snapshot id=42 label=before-upgrade');
  const reply = await replyTo(42);
  const newest = (await scene.listed()).at(-1);
  expect(reply).toContain(`status=0 snapshot=${newest?.snapshot} consistency=frozen`);
  expect(newest).toMatchObject({ manifest: { labels: { request: 'before-upgrade' } } });
  expect(await scene.newestJob()).toMatchObject({ trigger: 'request' });
  await ask('type=status id=43');
  // `unknown` where the host could not tell at that moment: it is never read as running.
  expect(await replyTo(43)).toMatch(new RegExp(`status=0 state=(running|unknown) last=${newest?.snapshot}`));
});

test('a guest is told what it may not ask for, obeys the same settings as everybody, and where it may ask for nothing gets no answer; nothing of it is done', async () => {
  await allow('status');
  const before = (await scene.jobs()).length;
  await ask('type=prune id=50');
  expect(await replyTo(50)).toContain('status=1 error=NotAllowed');
  expect((await scene.run('ctl', 'type=1')).exitCode).toBe(0);
  await ask('type=status id=60');
  expect(await replyTo(60)).toContain('status=75 error=NotListening');
  expect((await scene.run('ctl', 'type=-255')).exitCode).toBe(0);

  await allow();
  await ask('type=snapshot id=80');
  await ask('type=status id=81');
  await daemon.untilLogged(/^requests of the guest were dropped$/);
  await allow('status');
  await ask('type=status id=82');
  expect(await replyTo(82)).toContain('status=0');
  expect(await scene.guest.sh('dmesg')).not.toMatch(/reply id=8[01]/);
  expect(await scene.jobs()).toHaveLength(before);
});

// Where nobody listens, the guest's kernel logs each message that it can't send: its agent reads all of that first.
test('a guest that floods costs one line of the log, and its agent is heard meanwhile, by a command that the daemon works for (fault 70)', async () => {
  const requests = "echo garbage; echo 'umlsnap request type=snapshot id=x'";
  await scene.guest.sh(
    `(while :; do ${requests}; done > /proc/mconsole) > /dev/null 2>&1 & echo $! > /tmp/flood`,
  );
  const atMs = performance.now();
  try {
    const { exitCode, stderr } = await scene.run('snapshot', 'debian', '--require', 'frozen');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(await scene.newestJob()).toMatchObject({ pid: daemon.pid });
  } finally {
    await scene.guest.sh('kill $(cat /tmp/flood)');
  }
  const told = daemon.logged(/^requests of the guest were dropped$/);
  expect(told[0]).toMatchObject({ guest: 'debian', malformed: expect.any(Number) });
  // One of the test before, and then one a minute.
  expect(told.length).toBeLessThanOrEqual(2 + Math.ceil((performance.now() - atMs) / 60_000));
});
