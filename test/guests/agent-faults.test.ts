import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listenerLock, NotifyListener } from '../../src/mconsole/notify-listener.js';
import { captureChild } from '../capture/traced.js';
import type { RunningCli } from '../support/cli.js';
import { killInPause } from '../support/held-job.js';
import { type Commands, expectFailed, resultOf, type SnapshotResult, setScene } from '../support/scene.js';
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

/** Has to go through to the disk. */
const write = 'echo thawed > /data/thawed && sync';
const expectThawed = () => sh(write);

/** Without waiting for the write: it would stand until the thaw. */
async function expectFrozen(): Promise<void> {
  await sh('rm -f /tmp/wrote; (echo x > /data/frozen; touch /tmp/wrote) > /dev/null 2>&1 & sleep 0.5');
  expect(await sh('ls /tmp')).not.toContain('wrote');
}

/** A snapshot whose guest is frozen, and not stopped: its `stop` waits for its release. */
async function startFrozen(options: string[] = [], commands: Commands = scene): Promise<RunningCli> {
  await scene.proxy.hold('stop');
  const cli = commands.startSnapshot(...options);
  await scene.proxy.untilHeld('stop');
  await expectFrozen();
  return cli;
}

/** Starts a snapshot, and waits until it has sent this. */
async function startUntilSent(command: string, ...options: string[]): Promise<RunningCli> {
  const before = (await scene.proxy.events()).length;
  const cli = scene.startSnapshot(...options);
  await scene.proxy.untilSeen(command, 'request', before);
  return cli;
}

/** A snapshot whose guest is frozen, and was never stopped, killed with all that belongs to it. */
async function killFrozen(): Promise<void> {
  await scene.proxy.drop('stop', 1, 'request');
  const cli = await startUntilSent('stop');
  scene.killCommands();
  await cli.exited;
  await expectFrozen();
}

/** Its sleep is what it waits for: 60 s of budget and 15. */
const endTimer = "kill $(ps | grep 'sleep 75' | grep -v grep | awk '{ print $1 }')";
const untilThawHooks = () =>
  waitFor('the hooks after the thaw', async () => (await sh('cat /tmp/thawed 2> /dev/null; true')) || null);
async function expectRecovered(told: Record<string, unknown>): Promise<void> {
  const { exitCode, stderr, json } = await scene.run('recover', '--json');
  expect({ exitCode, stderr, json }).toMatchObject({ exitCode: 0, stderr: '', json: [told] });
}

function expectNotFrozen(result: SnapshotResult, why: RegExp, tries = 1): void {
  expect(result).toMatchObject({ exitCode: 3, summary: { consistency: 'synced', status: 'warning', tries } });
  expect(result.summary.warnings.join('\n')).toMatch(why);
}

const frozen = { error: null, consistency: 'frozen' };

const writeHook = (name: string, ...lines: string[]) =>
  sh(
    `printf '%s\\n' '#!/bin/sh' ${lines.map((line) => `'${line}'`).join(' ')} > /etc/umlsnap/freeze.d/${name}; chmod +x /etc/umlsnap/freeze.d/${name}`,
  );

test('a silent agent (fault 66) before the stop takes the word frozen from the snapshot', async () => {
  const cli = await startFrozen();
  await sh('killall -STOP umlsnap-agent');
  await scene.proxy.release('stop');
  // The kernel makes up for it, and nothing was written up to then.
  expectNotFrozen(resultOf(await cli.exited), /the freeze did not hold until the end/);
  await expectThawed();
});

describe("the guest's own timer before the stop (fault 67), and a write that is through by then,", () => {
  async function writtenInFreeze(options: string[], commands?: Commands): Promise<SnapshotResult> {
    const cli = await startFrozen(options, commands);
    await sh(`${endTimer}; ${write}`);
    await scene.proxy.release('stop');
    return resultOf(await cli.exited);
  }

  test('take the word synced from that try too, and another one without a freeze comes to it', async () => {
    expectNotFrozen(await writtenInFreeze([]), /something else had ended it/, 2);
  });

  test('leave a snapshot that is `crash`, and none where synced is required, if there is no other try', async () => {
    const once = await scene.variant({ syncTries: 1 });
    expect(await writtenInFreeze([], once)).toMatchObject({
      summary: { consistency: 'crash', dirtyKib: 0, warnings: [expect.stringMatching(/something else had/)] },
    });
    await scene.expectWell();
    expectFailed(await writtenInFreeze(['--require', 'synced'], once), 'ConsistencyTooWeak');
    await scene.expectUnharmed();
  });
});

describe('writes that no freeze stops, as to swap on the same disk,', () => {
  /** Before the superblock, and by no filesystem. */
  const writeOutside = () => sh('dd if=/dev/zero of=/dev/ubda bs=512 count=1 oflag=direct 2>&1');
  const asRequired = { exitCode: 0, summary: { ...frozen, tries: 2 } };

  test('leave a snapshot `frozen` where the freeze has held', async () => {
    const cli = await startFrozen(['--require', 'frozen']);
    await writeOutside();
    await scene.proxy.release('stop');
    await scene.proxy.hold('stop');
    await scene.proxy.untilHeld('stop');
    await writeOutside();
    await scene.proxy.release('stop');
    expect(resultOf(await cli.exited)).toMatchObject(asRequired);
  });

  test('and an agent that is slow to thaw after a try that kept nothing, leave the next try to it', async () => {
    const cli = await startFrozen(['--require', 'frozen']);
    await writeOutside();
    await sh('killall -STOP umlsnap-agent');
    const before = (await scene.proxy.events()).length;
    await scene.proxy.release('stop');
    await scene.proxy.untilSeen('sysrq j', 'request', before);
    await sh('killall -CONT umlsnap-agent');
    expect(resultOf(await cli.exited)).toMatchObject(asRequired);
  });
});

test('an agent that is started anew after the freeze fails the job where frozen is required, and keeps nothing', async () => {
  const cli = await startFrozen(['--require', 'frozen']);
  await sh('killall -KILL umlsnap-agent');
  await scene.proxy.release('stop');
  expectFailed(resultOf(await cli.exited), 'NotFrozen');
  await expectThawed();
  await scene.expectUnharmed();
});

test('a freeze whose host is gone for good is ended by its timer, and the hooks after it run', async () => {
  await killFrozen();
  await sh(endTimer);
  await expectThawed();
  await untilThawHooks();
  await expectRecovered({});
});

test('kill -9 of everything while the guest is frozen, and runs, is followed by a thaw at the next start, which tells of it', async () => {
  await killFrozen();
  await expectRecovered({ thawed: ['debian'], problems: [] });
});

test('kill -9 of everything while the hooks before a freeze run is followed by a thaw at the next start, and calls off the freeze that they were about to begin', async () => {
  await writeHook('50-slow', 'touch /tmp/hooked', 'until [ -e /tmp/go-on ]; do sleep 0.1; done');
  const cli = scene.startSnapshot();
  await waitFor('the hook', async () => (await sh('ls /tmp')).includes('hooked'));
  scene.killCommands();
  await cli.exited;
  await expectRecovered({ thawed: ['debian'], problems: [] });
  // Only now is frozen what nobody waits for. The hooks follow the thaw; its own timer would come a minute later.
  await sh('touch /tmp/go-on');
  await untilThawHooks();
});

test('kill -9 of everything while the guest is frozen and stands still is followed by its go, and then its thaw', async () => {
  await killInPause(scene);
  await expectRecovered({ resumed: ['debian'], thawed: ['debian'] });
});

test('a hook that fails is named with what it said, and the freeze is not begun (fault 68)', async () => {
  await writeHook('50-bad', 'echo the database said no', 'exit 7');
  const { job, error } = expectFailed(await scene.snapshot('--require', 'frozen'), 'NotFrozen');
  expect(error).toMatchObject({
    phase: 'freeze',
    message: expect.stringMatching(/50-bad failed with exit code 7 \(the database said no\)/),
  });
  expect(await untilThawHooks()).toBe(job);
});

const late = 'hook 50-late took too long, and was killed';
test.each([
  ['hangs', ['sleep 987 &', 'sleep 986'], late],
  // On a busy host the rest of its output takes the agent longer to read than its answer is waited for.
  ['floods its output without an end', ['exec yes'], `${late}|did not answer the order`],
])('a hook that %s is killed with all that it started, and the snapshot says so', async (_, lines, why) => {
  await writeHook('50-late', ...lines);
  const impatient = await scene.variant({ freezeTimeout: '1s' });
  expectNotFrozen(await impatient.snapshot(), new RegExp(why));
  const left = () => sh("ps | grep -E 'sleep 98[67]|yes$' | grep -v grep; true");
  await waitFor('its end', async () => (await left()) === '');
});

test('a hook that is loud and leaves a process behind is waited for no longer than it runs itself', async () => {
  await writeHook('50-loud', 'seq 1 2000', 'sleep 985 &', 'exit 0');
  expect(await scene.snapshot('--require', 'frozen')).toMatchObject({ exitCode: 0, summary: frozen });
});

test('an agent that was started anew while the disks were copied freezes all the same', async () => {
  const slow = await scene.variant({ precopyRate: '6MiB/s' });
  const cli = slow.startSnapshot('--capture', 'precopy', '--require', 'frozen');
  await cli.waitForOutput(/"doneBytes":[1-9]/);
  const copier = captureChild(cli.pid);
  process.kill(copier, 'SIGSTOP');
  const before = await sh('pidof umlsnap-agent');
  await sh('killall -KILL umlsnap-agent; killall sleep; true');
  await waitFor('another agent', async () => {
    const now = await sh('pidof umlsnap-agent; true');
    return now.split(' ').length >= 3 && now !== before;
  });
  process.kill(copier, 'SIGCONT');
  expect(resultOf(await cli.exited).summary).toMatchObject(frozen);
});

test('an agent that somebody else listens to when a snapshot begins freezes when he has heard enough', async () => {
  const lock = listenerLock(scene.state, scene.notifySocket);
  const options = { socketPath: scene.notifySocket, lock, holder: 'umlsnap (pid 1)' };
  const { cli } = await NotifyListener.listenWhile(options, async () => {
    const cli = await startUntilSent('proc cmdline', '--require', 'frozen');
    // It tries to listen several times meanwhile.
    await sleep(500);
    return { cli };
  });
  expect(resultOf(await cli.exited).summary).toMatchObject(frozen);
});

test('an agent that does not answer leaves the snapshot synced with a warning, or fails it where frozen is required', async () => {
  await sh('killall -STOP umlsnap-agent');
  expectNotFrozen(await scene.snapshot(), /no agent in it answered/);
  const { error } = expectFailed(await scene.snapshot('--require', 'frozen'), 'NotFrozen');
  expect(error).toMatchObject({ phase: 'preflight' });
});
