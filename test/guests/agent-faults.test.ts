import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NotifyListener } from '../../src/mconsole/notify-listener.js';
import type { RunningCli } from '../support/cli.js';
import { killInPause } from '../support/held-job.js';
import { expectFailed, resultOf, type Summary, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** What goes wrong around a freeze (faults 66, 67 and 68): nothing of it may leave the guest frozen, or lie about it. */

const scene = setScene({
  ...{ on: 'xfs', proxied: true, notify: true, settings: { freezeTimeout: '60s' } },
  guest: {
    ...{ agent: 'busybox', fillMiB: 24 },
    rc: [
      'mkdir -p /etc/umlsnap/freeze.d /etc/umlsnap/thaw.d',
      String.raw`printf '#!/bin/sh\necho $UMLSNAP_JOB >> /tmp/thawed\n' > /etc/umlsnap/thaw.d/50-note`,
      'chmod +x /etc/umlsnap/thaw.d/50-note',
    ],
  },
});
const sh = (command: string) => scene.guest.sh(command);

beforeEach(async () => {
  await sh('rm -f /tmp/thawed /tmp/hooked /tmp/go-on /etc/umlsnap/freeze.d/*; sync');
  await waitFor('an agent', async () => Number(await sh('pidof umlsnap-agent | wc -w')) >= 3);
});
afterEach(async () => {
  await scene.proxy.release('stop');
  await sh('killall -CONT umlsnap-agent; true');
  await expectThawed();
  // Of timers whose agent is gone.
  await sh('killall sleep; true');
  await scene.expectWell();
});

/** A write that has to go through to the disk. */
const expectThawed = () => sh('echo thawed > /data/thawed && sync');

/** Without waiting for the write: it would stand until the thaw. */
async function expectFrozen(): Promise<void> {
  await sh('rm -f /tmp/wrote; (echo x > /data/frozen; touch /tmp/wrote) > /dev/null 2>&1 & sleep 0.5');
  expect(await sh('ls /tmp')).not.toContain('wrote');
}

/** A snapshot whose guest is frozen, and not stopped: its `stop` waits for its release. */
async function startFrozen(...options: string[]): Promise<RunningCli> {
  await scene.proxy.hold('stop');
  const cli = scene.startSnapshot(...options);
  await scene.proxy.untilHeld('stop');
  await expectFrozen();
  return cli;
}

/** A snapshot whose guest is frozen, and was never stopped, killed with all that belongs to it. */
async function killFrozen(): Promise<void> {
  const { proxy } = scene;
  const before = (await proxy.events()).length;
  await proxy.drop('stop', 1, 'request');
  const cli = scene.startSnapshot();
  await waitFor('a stop that is lost', async () =>
    (await proxy.events()).slice(before).some(({ command }) => command === 'stop'),
  );
  scene.killCommands();
  await cli.exited;
  await expectFrozen();
}

/** Its sleep is what it waits for: 60 s of budget and 15. */
const endTimer = () => sh("kill $(ps | grep 'sleep 75' | grep -v grep | awk '{ print $1 }')");
const untilThawHooks = () =>
  waitFor('the hooks after the thaw', async () => await sh('cat /tmp/thawed 2> /dev/null; true'));
const recover = async () => {
  const { exitCode, stderr, json } = await scene.run('recover', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return json;
};

function expectNotFrozen({ exitCode, summary }: { exitCode: number | null; summary: Summary }, why: RegExp) {
  expect({ exitCode, summary }).toMatchObject({
    ...{ exitCode: 3, summary: { consistency: 'synced', status: 'warning' } },
  });
  expect(summary.warnings.join('\n')).toMatch(why);
}

const frozen = { error: null, consistency: 'frozen' };

describe('an agent that is lost after the freeze', () => {
  test('and answers nothing is made up for by the kernel, and the snapshot is not called frozen', async () => {
    const cli = await startFrozen();
    await sh('killall -STOP umlsnap-agent');
    await scene.proxy.release('stop');
    expectNotFrozen(resultOf(await cli.exited), /the freeze did not hold until the end/);
    await expectThawed();
  });

  test('and started anew fails the job where frozen is required, and keeps nothing', async () => {
    const cli = await startFrozen('--require', 'frozen');
    await sh('killall -KILL umlsnap-agent');
    await scene.proxy.release('stop');
    expectFailed(resultOf(await cli.exited), 'NotFrozen');
    await expectThawed();
    await scene.expectUnharmed();
  });
});

describe("the guest's own timer", () => {
  test('that ends the freeze before the stop takes the word frozen from the snapshot', async () => {
    const cli = await startFrozen();
    await endTimer();
    await expectThawed();
    await scene.proxy.release('stop');
    expectNotFrozen(resultOf(await cli.exited), /something else had ended it/);
  });

  test('ends a freeze whose host is gone for good, and the hooks after it run', async () => {
    await killFrozen();
    await endTimer();
    await expectThawed();
    await untilThawHooks();
    await recover();
  });
});

describe('kill -9 of everything while the guest is frozen', () => {
  test('is followed by a thaw at the next start, which tells of it', async () => {
    await killFrozen();
    expect(await recover()).toEqual([expect.objectContaining({ thawed: ['debian'], problems: [] })]);
    await expectThawed();
  });

  test('and while its hooks still run, calls the freeze off that they were about to begin', async () => {
    await writeHook('50-slow', 'touch /tmp/hooked', 'until [ -e /tmp/go-on ]; do sleep 0.1; done');
    const cli = scene.startSnapshot();
    await waitFor('the hook', async () => (await sh('ls /tmp')).includes('hooked'));
    scene.killCommands();
    await cli.exited;
    expect(await recover()).toMatchObject([{ thawed: ['debian'], problems: [] }]);
    // Only now is frozen what nobody waits for. The hooks follow the thaw; its own timer would come a minute later.
    await sh('touch /tmp/go-on');
    await untilThawHooks();
    await expectThawed();
  });

  test('and stands still besides, is followed by its go, and then its thaw', async () => {
    await killInPause(scene);
    const told = { resumed: ['debian'], thawed: ['debian'] };
    expect(await recover()).toEqual([expect.objectContaining(told)]);
    await expectThawed();
  });
});

const writeHook = (name: string, ...lines: string[]) =>
  sh(
    `printf '%s\\n' '#!/bin/sh' ${lines.map((line) => `'${line}'`).join(' ')} > /etc/umlsnap/freeze.d/${name}; chmod +x /etc/umlsnap/freeze.d/${name}`,
  );

describe('a hook', () => {
  test('that fails is named with what it said, and the freeze is not begun', async () => {
    await writeHook('50-bad', 'echo the database said no', 'exit 7');
    const { job, error } = expectFailed(await scene.snapshot('--require', 'frozen'), 'NotFrozen');
    expect(error).toMatchObject({
      phase: 'quiesce',
      message: expect.stringMatching(/50-bad failed with exit code 7 \(the database said no\)/),
    });
    expect(await untilThawHooks()).toBe(job);
  });

  const late = 'hook 50-late took too long, and was killed';
  test.each([
    ['hangs', ['sleep 987 &', 'sleep 986'], late],
    // On a busy host the rest of its output takes the agent longer to read than its answer is waited for.
    ['floods its output without an end', ['exec yes'], `${late}|did not answer the order`],
  ])(
    'that %s is killed with what it has started, and the snapshot goes on without, and says so',
    async (_, lines, why) => {
      await writeHook('50-late', ...lines);
      const impatient = await scene.variant({ freezeTimeout: '1s' });
      expectNotFrozen(await impatient.snapshot(), new RegExp(why));
      await waitFor(
        'its end',
        async () => (await sh("ps | grep -E 'sleep 98[67]|yes$' | grep -v grep; true")) === '',
      );
    },
  );

  test('that is loud and leaves a process behind is waited for no longer than it runs itself', async () => {
    await writeHook('50-loud', 'seq 1 2000', 'sleep 985 &', 'exit 0');
    expect(await scene.snapshot('--require', 'frozen')).toMatchObject({ exitCode: 0, summary: frozen });
  });
});

describe('an agent', () => {
  test('that was started anew while the disks were copied freezes all the same', async () => {
    const slow = await scene.variant({ precopyRate: '6MiB/s' });
    const cli = slow.startSnapshot('--capture', 'precopy', '--require', 'frozen');
    await cli.waitForOutput(/"doneBytes":[1-9]/);
    const before = await sh('pidof umlsnap-agent');
    await sh('killall -KILL umlsnap-agent; killall sleep; true');
    await waitFor('another agent', async () => {
      const now = await sh('pidof umlsnap-agent; true');
      return now.split(' ').length >= 3 && now !== before;
    });
    expect(resultOf(await cli.exited).summary).toMatchObject(frozen);
  });

  test('that somebody else listens to when a snapshot begins freezes when he has heard enough', async () => {
    const options = { socketPath: scene.notifySocket, holder: 'umlsnap (pid 1)' };
    const before = (await scene.proxy.events()).length;
    const { cli } = await NotifyListener.listenWhile(options, async () => {
      const cli = scene.startSnapshot('--require', 'frozen');
      await waitFor('it to come to its agent', async () =>
        (await scene.proxy.events()).slice(before).some(({ command }) => command === 'proc cmdline'),
      );
      // It tries to listen several times meanwhile.
      await sleep(500);
      return { cli };
    });
    expect(resultOf(await cli.exited).summary).toMatchObject(frozen);
  });

  test('that does not answer leaves the snapshot synced with a warning, or fails it where frozen is required', async () => {
    await sh('killall -STOP umlsnap-agent');
    expectNotFrozen(await scene.snapshot(), /no agent in it answered/);
    const { error } = expectFailed(await scene.snapshot('--require', 'frozen'), 'NotFrozen');
    expect(error).toMatchObject({ phase: 'preflight' });
  });
});
