import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { NotifyListener } from '../../src/mconsole/notify-listener.js';
import type { RunningCli } from '../support/cli.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** What goes wrong around a freeze (faults 66, 67 and 68): nothing of it may leave the guest frozen, or lie about it. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;
beforeAll(async () => {
  house = await TestHouse.build();
  const notify = join(house.dir, 'n.sock');
  const hooks = [
    'mkdir -p /etc/umlsnap/freeze.d /etc/umlsnap/thaw.d',
    String.raw`printf '#!/bin/sh\necho $UMLSNAP_JOB >> /tmp/thawed\n' > /etc/umlsnap/thaw.d/50-note`,
    'chmod +x /etc/umlsnap/thaw.d/50-note',
  ];
  const ticker = '(i=0; while :; do i=$((i + 1)); echo $i > /tmp/ticks; nap 0.05; done) &';
  guest = await house.boot({ agent: 'busybox', fillMiB: 24, notifySocket: notify, rc: [...hooks, ticker] });
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
  await configure();
});

function configure(more: Record<string, unknown> = {}): Promise<void> {
  const notify = join(house.dir, 'n.sock');
  const settings = { mconsole: proxy.socketPath, notify, freezeTimeout: '3s', ...more };
  return house.configure({ one: settingsOf(guest, settings) });
}

afterAll(async () => {
  await proxy?.close();
  await house.remove();
});
beforeEach(async () => {
  await guest.sh('rm -f /tmp/thawed /etc/umlsnap/freeze.d/*; sync');
  await waitFor('an agent', async () => Number(await guest.sh('pidof umlsnap-agent | wc -w')) >= 3);
});
afterEach(async () => {
  await expectThawed();
  await house.expectAllWell();
  expect(await house.freezes()).toEqual([]);
});

/** A write that has to go through to the disk. */
const expectThawed = (limitMs = 30_000) => guest.sh('echo thawed > /data/thawed && sync', limitMs);

const snapshot = (...options: string[]) => house.start(['--json', 'snapshot', 'one', ...options]);

async function resultOf(cli: RunningCli) {
  const { exitCode, json, stderr } = await cli.exited;
  return { exitCode, stderr, summary: json.find(({ type }) => type === 'summary') ?? {} };
}

/** A snapshot whose guest is frozen, and not stopped: its `stop` waits for its release. */
async function startFrozen(...options: string[]): Promise<RunningCli> {
  await proxy.hold('stop');
  const cli = snapshot(...options);
  await proxy.untilHeld('stop');
  await expectFrozen();
  return cli;
}

/** A snapshot whose guest is frozen, and was never stopped, killed with all that belongs to it. */
async function killFrozen(...options: string[]): Promise<void> {
  const before = (await proxy.events()).length;
  await proxy.drop('stop', 1, 'request');
  const cli = snapshot(...options);
  await waitFor('a stop that is lost', async () =>
    (await proxy.events()).slice(before).some(({ command }) => command === 'stop'),
  );
  house.killCommands();
  await cli.exited;
  await expectFrozen();
}

/** Without waiting for the write: it would stand until the thaw. */
async function expectFrozen(): Promise<void> {
  await guest.sh('rm -f /tmp/wrote; (echo x > /data/frozen; touch /tmp/wrote) > /dev/null 2>&1 & sleep 0.5');
  expect(await guest.sh('ls /tmp')).not.toContain('wrote');
}

const warningsOf = (summary: Record<string, unknown>) => (summary.warnings as string[]).join('\n');

describe('an agent that is lost after the freeze', () => {
  test.each(['KILL', 'STOP'])(
    'by SIG%s is made up for by the kernel, and the snapshot is not called frozen',
    async (signal) => {
      const cli = await startFrozen();
      await guest.sh(`killall -${signal} umlsnap-agent`);
      await proxy.release('stop');
      const { exitCode, summary } = await resultOf(cli);
      expect({ exitCode, summary }).toMatchObject({
        exitCode: 3,
        summary: { consistency: 'synced', status: 'warning' },
      });
      expect(warningsOf(summary)).toMatch(/the freeze did not hold until the end/);
      await expectThawed();
      await guest.sh('killall -CONT umlsnap-agent; killall sleep; true');
    },
  );

  test('fails the job where frozen is required, and keeps nothing', async () => {
    const before = await house.listed();
    const cli = await startFrozen('--require', 'frozen');
    await guest.sh('killall -KILL umlsnap-agent');
    await proxy.release('stop');
    const { exitCode, summary } = await resultOf(cli);
    expect({ exitCode, summary }).toMatchObject({ exitCode: 1, summary: { error: { code: 'NotFrozen' } } });
    expect(await house.listed()).toEqual(before);
    await guest.sh('killall sleep; true');
  });
});

describe("the guest's own timer", () => {
  test('that ends the freeze before the stop takes the word frozen from the snapshot', async () => {
    const cli = await startFrozen();
    // Its sleep is what it waits for: 60 s of budget and 15.
    await guest.sh("kill $(ps | grep 'sleep 75' | grep -v grep | awk '{ print $1 }')");
    await expectThawed();
    await proxy.release('stop');
    const { exitCode, summary } = await resultOf(cli);
    expect(exitCode).toBe(3);
    expect(summary.consistency).not.toBe('frozen');
    expect(warningsOf(summary)).toMatch(/something else had ended it/);
  });

  test('ends a freeze whose host is gone for good, and the hooks after it run', async () => {
    await killFrozen('--budget', '5s');
    await expectThawed(60_000);
    await waitFor('the hooks', async () => (await guest.sh('cat /tmp/thawed; true')) !== '');
    await house.run(['recover']);
  });
});

describe('kill -9 of everything while the guest is frozen', () => {
  test('is followed by a thaw at the next start, which tells of it', async () => {
    await killFrozen();
    const recovered = await house.run(['--json', 'recover']);
    expect(recovered).toMatchObject({ exitCode: 0, stderr: '' });
    expect(recovered.json).toEqual([expect.objectContaining({ thawed: ['one'], problems: [] })]);
    await expectThawed();
    expect((await house.run(['recover'])).stdout).toBe('Nothing to recover.\n');
    await guest.sh('killall sleep; true');
  });

  test('and while its hooks still run, calls the freeze off that they were about to begin', async () => {
    await guest.sh(
      "printf '%s\\n' '#!/bin/sh' 'touch /tmp/hooked' 'sleep 2' > /etc/umlsnap/freeze.d/50-slow; chmod +x /etc/umlsnap/freeze.d/50-slow",
    );
    const cli = snapshot();
    await waitFor('the hook', async () => (await guest.sh('ls /tmp')).includes('hooked'));
    house.killCommands();
    await cli.exited;
    expect((await house.run(['--json', 'recover'])).json).toMatchObject([{ thawed: ['one'], problems: [] }]);
    // They follow the thaw; its own timer would come a minute later.
    await waitFor('the hooks after it', async () => (await guest.sh('cat /tmp/thawed; true')) !== '');
    await expectThawed();
    await guest.sh('rm /tmp/hooked');
  });

  test('and stands still besides, is followed by its go, and then its thaw', async () => {
    await proxy.hold('stop', 'answer');
    const cli = snapshot();
    await proxy.untilHeld('stop', 'answer');
    house.killCommands();
    await cli.exited;
    await proxy.release('stop');
    const recovered = await house.run(['--json', 'recover']);
    expect(recovered).toMatchObject({ exitCode: 0, stderr: '' });
    expect(recovered.json).toEqual([expect.objectContaining({ resumed: ['one'], thawed: ['one'] })]);
    await expectThawed();
    await guest.sh('killall sleep; true');
  });
});

describe('a hook', () => {
  const hook = (name: string, ...lines: string[]) =>
    guest.sh(
      `printf '%s\\n' '#!/bin/sh' ${lines.map((line) => `'${line}'`).join(' ')} > /etc/umlsnap/freeze.d/${name}; chmod +x /etc/umlsnap/freeze.d/${name}`,
    );

  test('that fails is named with what it said, and the freeze is not begun', async () => {
    await hook('50-bad', 'echo the database said no', 'exit 7');
    const { exitCode, summary } = await resultOf(snapshot('--require', 'frozen'));
    expect({ exitCode, summary }).toMatchObject({
      exitCode: 1,
      summary: { error: { code: 'NotFrozen', phase: 'quiesce' } },
    });
    expect((summary.error as { message: string }).message).toMatch(
      /50-bad failed with exit code 7 \(the database said no\)/,
    );
    await waitFor(
      'the hooks after it',
      async () => (await guest.sh('cat /tmp/thawed; true')) === summary.job,
    );
  });

  test('that hangs is killed with what it has started, and the snapshot goes on without, and says so', async () => {
    await hook('50-slow', 'sleep 987 &', 'sleep 986');
    const { exitCode, summary } = await resultOf(snapshot());
    expect({ exitCode, summary }).toMatchObject({ exitCode: 3, summary: { consistency: 'synced' } });
    expect(warningsOf(summary)).toMatch(/hook 50-slow took too long, and was killed/);
    expect(await guest.sh("ps | grep 'sleep 98' | grep -v grep; true")).toBe('');
  });

  test('that is loud and leaves a process behind is waited for no longer than it runs itself', async () => {
    await hook('50-loud', 'seq 1 2000', 'sleep 985 &', 'exit 0');
    const { exitCode, summary } = await resultOf(snapshot('--require', 'frozen'));
    expect({ exitCode, summary }).toMatchObject({ exitCode: 0, summary: { consistency: 'frozen' } });
    await guest.sh('killall sleep; true');
  });

  test('that floods its output without an end is killed when its time is up', async () => {
    await hook('50-flood', 'yes');
    const { exitCode, summary } = await resultOf(snapshot());
    expect({ exitCode, summary }).toMatchObject({ exitCode: 3, summary: { consistency: 'synced' } });
    // On a busy host the rest of its output takes the agent longer to read than its answer is waited for.
    expect(warningsOf(summary)).toMatch(
      /hook 50-flood took too long, and was killed|did not answer the order/,
    );
    await waitFor('its end', async () => (await guest.sh('pidof yes; true')) === '');
  });
});

test('an agent that was started anew while the disks were copied freezes all the same', async () => {
  await configure({ precopyRate: '4MiB/s' });
  const cli = snapshot('--capture', 'precopy', '--require', 'frozen');
  await cli.waitForOutput(/"doneBytes":[1-9]/);
  const before = await guest.sh('pidof umlsnap-agent');
  await guest.sh('killall -KILL umlsnap-agent; killall sleep; true');
  await waitFor('another agent', async () => {
    const now = await guest.sh('pidof umlsnap-agent; true');
    return now.split(' ').length >= 3 && now !== before;
  });
  expect((await resultOf(cli)).summary).toMatchObject({ error: null, consistency: 'frozen' });
  await configure();
});

test('what is left of an agent that was killed does not answer in the place of the next one', async () => {
  for (let round = 0; round < 3; round++) {
    // Of those that belong to it, init has made the main one the leader of a session.
    await guest.sh(
      'for pid in $(pidof umlsnap-agent); do set -- $(cat /proc/$pid/stat 2> /dev/null); [ "$6" != $pid ] || kill -KILL $pid; done',
    );
    await waitFor('another agent', async () => Number(await guest.sh('pidof umlsnap-agent | wc -w')) > 3);
    const { summary } = await resultOf(snapshot('--require', 'frozen'));
    expect(summary).toMatchObject({ error: null, consistency: 'frozen' });
  }
});

test('somebody who looks whether there is an agent when a snapshot begins does not cost it its freeze', async () => {
  const options = { socketPath: join(house.dir, 'n.sock'), holder: 'umlsnap (pid 1)' };
  const { cli } = await NotifyListener.listenWhile(options, async () => {
    const cli = snapshot('--require', 'frozen');
    // As long as it takes the snapshot to come to its agent, and then some.
    await cli.waitForOutput(/"phase":"preflight"/);
    await sleep(1500);
    return { cli };
  });
  expect((await resultOf(cli)).summary).toMatchObject({ error: null, consistency: 'frozen' });
});

describe('without an answer', () => {
  test('the snapshot is synced with a warning, or fails where frozen is required', async () => {
    await guest.sh('killall -STOP umlsnap-agent');
    try {
      const { exitCode, summary } = await resultOf(snapshot());
      expect({ exitCode, summary }).toMatchObject({ exitCode: 3, summary: { consistency: 'synced' } });
      expect(warningsOf(summary)).toMatch(/no agent in it answered/);
      expect((await resultOf(snapshot('--require', 'frozen'))).summary).toMatchObject({
        error: { code: 'NotFrozen', phase: 'preflight' },
      });
    } finally {
      await guest.sh('killall -CONT umlsnap-agent');
    }
  });
});
