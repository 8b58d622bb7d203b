import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { captureChild } from '../capture/traced.js';
import { letCapture, startHeldInCapture } from '../support/held-job.js';
import { withMconsoleProxy } from '../support/mconsole-proxy.js';
import {
  capturesAtOnce,
  expectFailed,
  expectRuns,
  resultOf,
  type Scene,
  type SnapshotResult,
  withScene,
} from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** A guest that dies or reboots at the wrong moment. Each test has a guest of its own, for none survives it. */

/** Nothing of the job is left but its record, and no command says that the guest runs. */
async function expectNothingLeft(scene: Scene): Promise<void> {
  await waitFor('processes of umlsnap to end', () => scene.processes().length === 0);
  expect(await scene.leases()).toEqual([]);
  expect(await scene.incomings()).toEqual([]);
  expect(await scene.snapshots()).toEqual([]);
  await scene.expectNothingToRecover();
}

async function killMain({ guest }: Scene): Promise<void> {
  process.kill(guest.pid, 'SIGKILL');
  await waitFor('the main process to end', () => !guest.processes().includes(guest.pid));
}

async function panic({ guest }: Scene): Promise<void> {
  const admin = await MconsoleClient.open(guest.socketPath);
  admin.ask('sysrq c');
  await guest.waitForConsole(/Kernel panic/);
  admin.close();
}

/** As far as any live on. */
function expectLeftoverNamed({ guest }: Scene, { stderr }: SnapshotResult): void {
  const leftover = guest.processes();
  if (leftover.length === 0) return;
  expect(stderr).toMatch(/left over and hold its disks/);
  const named = /Its processes ([\d, ]+) are left over/.exec(stderr)?.[1]?.split(', ') ?? [];
  expect(leftover).toEqual(expect.arrayContaining(named.map(Number)));
}

/** One whose job can be held in its pause. */
const holdable = { on: 'xfs' as const, proxied: true, settings: capturesAtOnce };

// A stop is waited for as long as the budget allows.
const startHeldAtStop = async (scene: Scene) => {
  await scene.proxy.hold('stop');
  const cli = scene.startSnapshot('--budget', '3s');
  await scene.proxy.untilHeld('stop');
  return cli;
};
const startPaused = (scene: Scene) => startHeldInCapture(scene.proxy, scene.startSnapshot);

test.each<[string, typeof startHeldAtStop, typeof panic, look?: typeof expectLeftoverNamed]>([
  ['killed before its stop arrives (fault 1)', startHeldAtStop, ({ guest }) => guest.kill()],
  [
    'killed while paused with helpers that live on, of which those that lock its disk are named (fault 2)',
    ...([startPaused, killMain, expectLeftoverNamed] as const),
  ],
  ['panicking while it is paused (fault 5)', startPaused, panic],
])(
  'a guest that is gone is not said to run, and leaves no lease, no copy and no snapshot: %s',
  (_, start, die, look) =>
    withScene({ ...holdable, guest: { writer: 'lines' } }, async (scene) => {
      const cli = await start(scene);
      await die(scene);
      await scene.proxy.release('stop');
      await letCapture(scene.proxy);
      const result = resultOf(await cli.exited);
      look?.(scene, result);
      expect(expectFailed(result, 'GuestGone')).toMatchObject({ status: 'failed', resumed: false });
      await expectNothingLeft(scene);
    }),
);

test('a relay before its console that dies while a guest is paused: the guardian does not spin, and resumes it when there is one again', () =>
  withScene(holdable, async (scene) => {
    const cli = await startPaused(scene);
    await scene.proxy.kill();
    const [guardian = 0] = scene.guardians();
    const before = { reads: readCalls(guardian), atMs: performance.now() };
    await sleep(1000);
    const filesSoFar = openFiles(guardian);
    await sleep(2000);
    expect(isPaused(scene.guest.pid)).toBe(true);
    // A client, its socket and a file of /proc come and go.
    expect(openFiles(guardian)).toBeLessThanOrEqual(filesSoFar + 3);
    // Some eight for each `go` or look, of which there are eight in the first second, and then four in each.
    const tries = 8 + (performance.now() - before.atMs) / 250;
    expect(readCalls(guardian) - before.reads).toBeLessThan(50 * tries);
    const paths = { listenPath: scene.proxy.socketPath, guestSocketPath: scene.guest.socketPath };
    await withMconsoleProxy(paths, async () => {
      await waitFor('the guest to run', () => !isPaused(scene.guest.pid));
      const { summary } = resultOf(await cli.exited);
      expect(summary).toMatchObject({ status: 'failed', resumed: true, snapshot: null });
      await expectRuns(scene.guest);
      await expectNothingLeft(scene);
    });
  }));

const openFiles = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;
const readCalls = (pid: number) =>
  Number(/^syscr: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
const isPaused = (pid: number) =>
  readFileSync(`/proc/${pid}/wchan`, 'utf8').includes('wait_for_more_packets');

test('a guest that reboots in the middle of the job is another guest: nothing of it counts (fault 6); one that is killed then is not called halted', () =>
  withScene(
    {
      ...{ on: 'xfs', guest: { writer: 'lines', unlockedDisks: true, fillMiB: 16 } },
      // Of its bulk of four seconds there is much to come: it reboots in the midst of it.
      settings: { capture: 'precopy', precopyRate: '4MiB/s' },
    },
    async (scene) => {
      const { guest } = scene;
      const cli = scene.startSnapshot();
      await cli.waitForOutput(/"doneBytes":[1-9]/);
      process.kill(captureChild(cli.pid), 'SIGSTOP');
      await guest.mconsole('reboot');
      process.kill(captureChild(cli.pid), 'SIGCONT');
      const { exitCode, summary } = resultOf(await cli.exited);
      expect(summary).toMatchObject({ status: 'failed', snapshot: null });
      expect(exitCode).toBe(1);
      const timesUp = async () => (await guest.console()).match(/test guest is up/g)?.length;
      await waitFor('the guest to be up again', async () => (await timesUp()) === 2);
      // Its shell comes up a little later than its console says.
      const isUp = async () =>
        (await guest.sh('cat /tmp/ticks && echo up', 2000).catch(() => '')).endsWith('up');
      await waitFor('its shell', isUp);
      await expectRuns(guest);
      await expectNothingLeft(scene);

      const next = scene.startSnapshot();
      await next.waitForOutput(/"doneBytes":[1-9]/);
      await killMain(scene);
      // Without what it may leave, which has its disks open.
      for (const pid of guest.processes()) process.kill(pid, 'SIGKILL');
      expectFailed(resultOf(await next.exited), 'GuestGone');
      await expectNothingLeft(scene);
    },
  ));
