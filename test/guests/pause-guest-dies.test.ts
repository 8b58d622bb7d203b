import { describe, expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { startHeldInSync } from '../support/held-job.js';
import {
  expectFailed,
  expectRuns,
  resultOf,
  type Scene,
  type SceneOptions,
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
  const recovered = await scene.run('recover');
  expect(recovered).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n' });
}

/** A snapshot whose guest stands still in its sync, until `die` has ended it. */
async function endedInSync(scene: Scene, die: () => Promise<unknown>) {
  const cli = await startHeldInSync(scene.proxy, () => scene.startSnapshot());
  await die();
  await scene.proxy.release('sysrq s');
  return resultOf(await cli.exited);
}

describe('a guest that is gone is not said to run, and leaves no lease, no copy and no snapshot', () => {
  const withGuest = (use: (scene: Scene) => Promise<void>) =>
    withScene({ on: 'xfs', proxied: true, guest: { writer: 'lines' } }, async (scene) => {
      await use(scene);
      await expectNothingLeft(scene);
    });

  test('killed before its stop arrives', () =>
    withGuest(async (scene) => {
      await scene.proxy.hold('stop');
      // Its stop is waited for that long.
      const cli = scene.startSnapshot('--budget', '3s');
      await scene.proxy.untilHeld('stop');
      await scene.guest.kill();
      await scene.proxy.release('stop');
      const { status, resumed } = expectFailed(resultOf(await cli.exited), 'GuestGone');
      expect({ status, resumed }).toEqual({ status: 'failed', resumed: false });
    }));

  test('killed while paused with helpers that live on, of which those that lock its disk are named', () =>
    withGuest(async (scene) => {
      const { guest } = scene;
      const result = await endedInSync(scene, async () => {
        process.kill(guest.pid, 'SIGKILL');
        await waitFor('the main process to end', () => !guest.processes().includes(guest.pid));
      });
      const leftover = guest.processes();
      const { status, resumed } = expectFailed(result, 'GuestGone');
      expect({ status, resumed }).toEqual({ status: 'failed', resumed: false });
      if (leftover.length > 0) {
        expect(result.stderr).toMatch(/left over and hold its disks/);
        const named = /Its processes ([\d, ]+) are left over/.exec(result.stderr)?.[1]?.split(', ') ?? [];
        expect(leftover).toEqual(expect.arrayContaining(named.map(Number)));
      }
    }));

  test('panicking while it is paused', () =>
    withGuest(async (scene) => {
      const result = await endedInSync(scene, async () => {
        const admin = await MconsoleClient.open(scene.guest.socketPath);
        admin.ask('sysrq c');
        await scene.guest.waitForConsole(/Kernel panic/);
        admin.close();
      });
      expect(expectFailed(result, 'GuestGone').status).toBe('failed');
    }));
});

test('a guest that reboots in the middle of the job is another guest: nothing of it counts', async () => {
  const options: SceneOptions = {
    ...{ on: 'xfs', guest: { writer: 'lines', unlockedDisks: true, fillMiB: 16 } },
    // Its bulk takes four seconds: it reboots in them.
    settings: { capture: 'precopy', precopyRate: '4MiB/s' },
  };
  await withScene(options, async (scene) => {
    const { guest } = scene;
    const cli = scene.startSnapshot();
    await cli.waitForOutput(/"doneBytes":[1-9]/);
    await guest.mconsole('reboot');
    const { exitCode, summary } = resultOf(await cli.exited);
    expect({ exitCode, summary }).toMatchObject({
      exitCode: 1,
      summary: { status: 'failed', snapshot: null },
    });
    const timesUp = async () => (await guest.console()).match(/test guest is up/g)?.length;
    await waitFor('the guest to be up again', async () => (await timesUp()) === 2);
    // Its shell comes up a little later than its console says.
    const isUp = async () =>
      (await guest.sh('cat /tmp/ticks && echo up', 2000).catch(() => '')).endsWith('up');
    await waitFor('its shell', isUp);
    await expectRuns(guest);
    await expectNothingLeft(scene);
  });
});
