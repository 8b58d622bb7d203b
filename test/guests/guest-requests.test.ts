import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { expectRuns, setScene } from '../support/scene.js';
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

test('a guest is told what it may not ask for, and nothing of it is done', async () => {
  await allow('status');
  const before = (await scene.jobs()).length;
  await ask('type=prune id=50');
  expect(await replyTo(50)).toContain('status=1 error=NotAllowed');
  expect(await scene.jobs()).toHaveLength(before);
});

test('a guest obeys the same settings as everybody', async () => {
  expect((await scene.run('ctl', 'type=1')).exitCode).toBe(0);
  await ask('type=status id=60');
  expect(await replyTo(60)).toContain('status=75 error=NotListening');
  expect((await scene.run('ctl', 'type=-255')).exitCode).toBe(0);
});

test('a guest that may ask for nothing gets nothing, and no answer', async () => {
  await allow();
  const before = (await scene.jobs()).length;
  await ask('type=snapshot id=80');
  await ask('type=status id=81');
  await daemon.untilLogged(/^requests of the guest were dropped$/);
  await allow('status');
  await ask('type=status id=82');
  expect(await replyTo(82)).toContain('status=0');
  expect(await scene.jobs()).toHaveLength(before);
  expect(await scene.guest.sh('dmesg')).not.toMatch(/reply id=8[01]/);
});

test('a guest that floods costs next to nothing, and its words are told in one line', async () => {
  const messages = 3000;
  const before = {
    rssKib: rssKib(daemon.pid),
    replies: await countOfReplies(),
    atMs: performance.now(),
    cpuMs: cpuMs(daemon.pid),
  };
  await scene.guest.sh(
    `i=0; while [ $i -lt ${messages} ]; do i=$((i + 1)); echo 'umlsnap request type=snapshot id=x'; done > /proc/mconsole; for i in 1 2 3 4 5 6 7 8; do echo 'umlsnap request type=status id=9'$i > /proc/mconsole; done`,
    120_000,
  );
  // The share of a core hangs on how fast the guest can write them; what a message costs does not.
  expect((cpuMs(daemon.pid) - before.cpuMs) / messages).toBeLessThan(1);
  expect((rssKib(daemon.pid) - before.rssKib) / 1024).toBeLessThan(50);
  const told = daemon.logged(/^requests of the guest were dropped$/);
  expect(told[0]).toMatchObject({ guest: 'debian', malformed: expect.any(Number) });
  // One of the test before, and then one a minute.
  expect(told.length).toBeLessThanOrEqual(2 + Math.ceil((performance.now() - before.atMs) / 60_000));
  // Five tokens at most, and one more for each ten seconds that the last lines took.
  expect((await countOfReplies()) - before.replies).toBeLessThan(8);
  await expectRuns(scene.guest);
});

// Where nobody listens, the guest's kernel logs each message that it can't send: its agent reads all of that first.
test('its agent is heard in the middle of a flood, by a command that the daemon works for', async () => {
  const flood = '(while :; do echo garbage; done > /proc/mconsole) > /dev/null 2>&1 & echo $! > /tmp/flood';
  await scene.guest.sh(flood);
  try {
    const { exitCode, stderr } = await scene.run('snapshot', 'debian', '--require', 'frozen');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(await scene.newestJob()).toMatchObject({ pid: daemon.pid });
  } finally {
    await scene.guest.sh('kill $(cat /tmp/flood)');
  }
});

const countOfReplies = async () => (await scene.guest.sh('dmesg')).split('umlsnap reply').length - 1;

function rssKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Of all its threads, by the kernel's ticks of 10 ms (proc(5), stat: utime and stime). */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
