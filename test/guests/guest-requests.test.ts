import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { RealGuest } from '../support/real-guest.js';
import { TestDaemon } from '../support/test-daemon.js';
import { expectRunning, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** What a real guest asks of a daemon by its /proc/mconsole. */

let house: TestHouse;
let guest: RealGuest;
let notify: string;
let daemon: TestDaemon;

beforeAll(async () => {
  house = await TestHouse.build();
  notify = join(house.dir, 'n.sock');
  guest = await house.boot({ notifySocket: notify, agent: 'busybox' });
  // Its three processes: before they are there, a snapshot would be taken without it.
  await waitFor('its agent', async () => Number(await guest.sh('pidof umlsnap-agent | wc -w')) >= 3);
});
afterAll(() => house.remove());
afterEach(async () => {
  try {
    await daemon.end();
    await house.expectAllWell();
  } finally {
    house.killCommands();
  }
});

async function start(requests: string[], ...settings: string[]): Promise<void> {
  await house.configure({ one: settingsOf(guest, { notify, requests }) });
  daemon = await TestDaemon.start(house, ['debug', ...settings]);
  await daemon.untilLogged(/^listening to the guest$/);
}

const ask = (words: string) => guest.sh(`echo 'umlsnap request ${words}' > /proc/mconsole`);
const replyTo = (id: number) =>
  waitFor(
    `the reply to ${id}`,
    async () => new RegExp(`umlsnap reply id=${id} .*`).exec(await guest.sh('dmesg'))?.[0],
  );

describe('a guest that may ask for something', () => {
  test('gets a snapshot of itself, with its label, by the agent that the daemon hears for it', async () => {
    await start(['snapshot', 'status']);
    await ask('type=snapshot id=42 label=before-upgrade');
    const reply = await replyTo(42);
    const [{ snapshot } = { snapshot: '' }] = await house.listed();
    expect(reply).toContain(`status=0 snapshot=${snapshot} consistency=frozen`);
    const { json } = await house.run(['show', snapshot, '--json']);
    expect(json[0]).toMatchObject({ labels: { request: 'before-upgrade' }, job: { trigger: 'request' } });
    await ask('type=status id=43');
    // `unknown` where the host could not tell at that moment: it is never read as running.
    expect(await replyTo(43)).toMatch(new RegExp(`status=0 state=(running|unknown) last=${snapshot}`));
  });

  test('is told what it may not ask for, and nothing of it is done', async () => {
    await start(['status']);
    const before = (await house.jobs()).length;
    await ask('type=prune id=50');
    expect(await replyTo(50)).toContain('status=1 error=NotAllowed');
    expect(await house.jobs()).toHaveLength(before);
  });

  test('obeys the same settings as everybody', async () => {
    await start(['snapshot', 'status'], 'type=1');
    await ask('type=status id=60');
    expect(await replyTo(60)).toContain('status=75 error=NotListening');
  });

  test('has its agent heard by a command that the daemon works for', async () => {
    await start(['status']);
    const through = await house.run(['snapshot', 'one', '--require', 'frozen', '--json']);
    expect({ exitCode: through.exitCode, stderr: through.stderr }).toEqual({ exitCode: 0, stderr: '' });
  });

  test('has its agent heard by a job that is due as soon as the daemon starts', async () => {
    const due = { schedule: '0 0 * * *', timezone: 'UTC', require: 'frozen' };
    await house.configure({ one: settingsOf(guest, { notify, ...due }) });
    await house.withHistory((history) => history.recordSlot('one', '2026-01-01T00:00:00.000Z'));
    daemon = await TestDaemon.start(house);
    expect(await daemon.untilLogged(/^backup (done|failed)/)).toMatchObject({
      ...{ msg: 'backup done', trigger: 'catchUp', consistency: 'frozen', error: null },
    });
  });

  test('costs next to nothing when it floods, and its words are told in one line', async () => {
    await start(['status']);
    await ask('type=status id=70');
    await replyTo(70);
    const before = {
      rssKib: rssKib(daemon.pid),
      replies: await countOfReplies(),
      atMs: performance.now(),
      cpuMs: cpuMs(daemon.pid),
    };
    await guest.sh(
      "i=0; while [ $i -lt 10000 ]; do i=$((i + 1)); echo 'umlsnap request type=snapshot id=x'; done > /proc/mconsole; for i in 1 2 3 4 5 6 7 8; do echo 'umlsnap request type=status id=9'$i > /proc/mconsole; done",
      120_000,
    );
    const floodMs = performance.now() - before.atMs;
    const usedMs = cpuMs(daemon.pid) - before.cpuMs;
    // The share of a core hangs on how fast the guest can write them, so it is told; what a message costs does not.
    console.log(`10000 messages: ${usedMs} ms of CPU, ${((usedMs / floodMs) * 100).toFixed(1)} % of a core`);
    expect(usedMs / 10_000).toBeLessThan(1);
    expect((rssKib(daemon.pid) - before.rssKib) / 1024).toBeLessThan(50);
    const told = daemon.logged(/^requests of the guest were dropped$/);
    expect(told[0]).toMatchObject({ guest: 'one', malformed: expect.any(Number) });
    expect(told.length).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - before.atMs) / 60_000));
    // Five tokens at most, and one more for each ten seconds that the last lines took.
    expect((await countOfReplies()) - before.replies).toBeLessThan(8);
    await expectRunning(guest);
  }, 280_000);

  // Where nobody listens, the guest's kernel logs each message that it can't send: its agent reads all of that first.
  test('has its agent heard in the middle of a flood', async () => {
    await start(['status']);
    await guest.sh(
      '(while :; do echo garbage; done > /proc/mconsole) > /dev/null 2>&1 & echo $! > /tmp/flood',
    );
    try {
      const { exitCode, stderr } = await house.run(['snapshot', 'one', '--require', 'frozen']);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    } finally {
      await guest.sh('kill $(cat /tmp/flood)');
    }
  });
});

test('a guest that may ask for nothing gets nothing, and no answer', async () => {
  await start([]);
  const before = (await house.jobs()).length;
  await ask('type=snapshot id=80');
  await ask('type=status id=81');
  await expectRunning(guest);
  expect(await house.jobs()).toHaveLength(before);
  expect(await guest.sh('dmesg')).not.toContain('reply id=8');
});

const countOfReplies = async () => (await guest.sh('dmesg')).split('umlsnap reply').length - 1;

function rssKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Of all its threads, by the kernel's ticks of 10 ms (proc(5), stat: utime and stime). */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
