import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { expectRunning, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** A guest that dies or reboots at the wrong moment. Each test has a guest of its own, for none survives it. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;

beforeEach(async () => {
  house = await TestHouse.build({ sizeMiB: 512 });
  guest = await house.boot({ writer: 'lines' });
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
  const settings = settingsOf(guest, { mconsole: proxy.socketPath, pauseBudget: '3s' });
  await house.configure({ one: settings });
});
afterEach(async () => {
  await proxy.close();
  await house.remove();
});

const snapshot = () => house.start(['--json', 'snapshot', 'one']);

/** Holds a snapshot where its guest stands still: in its sync, whose `sysrq s` is on the way. */
async function pausedInSync() {
  await proxy.hold('stop');
  const cli = snapshot();
  await proxy.untilHeld('stop');
  await proxy.hold('sysrq s');
  await proxy.release('stop');
  await proxy.untilHeld('sysrq s');
  return cli;
}

/** Nothing of the job is left but its record, and no command says that the guest runs. */
async function expectNothingLeft(): Promise<void> {
  await waitFor('processes of umlsnap to end', () => house.processes().length === 0);
  expect(await house.leases()).toEqual([]);
  expect(await house.incomings()).toEqual([]);
  expect(await house.listed()).toEqual([]);
  expect(await house.run(['recover'])).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n' });
}

test('a guest that is killed before its stop arrives is gone, and not said to run', async () => {
  await proxy.hold('stop');
  const cli = snapshot();
  await proxy.untilHeld('stop');
  await guest.kill();
  await proxy.release('stop');
  const { exitCode, json } = await cli.exited;
  expect(exitCode).toBe(1);
  expect(json.at(-1)).toMatchObject({ status: 'failed', resumed: false, error: { code: 'GuestGone' } });
  await expectNothingLeft();
});

test('a guest killed while paused whose helpers live on is gone, and the helpers that lock its disk are named', async () => {
  const cli = await pausedInSync();
  process.kill(guest.pid, 'SIGKILL');
  await waitFor('the main process to end', () => !guest.processes().includes(guest.pid));
  await proxy.release('sysrq s');
  const { exitCode, json, stderr } = await cli.exited;
  const leftover = guest.processes();
  expect(exitCode).toBe(1);
  expect(json.at(-1)).toMatchObject({ status: 'failed', resumed: false, error: { code: 'GuestGone' } });
  if (leftover.length > 0) {
    expect(stderr).toMatch(/left over and hold its disks/);
    const named = /Its processes ([\d, ]+) are left over/.exec(stderr)?.[1]?.split(', ').map(Number) ?? [];
    expect(leftover).toEqual(expect.arrayContaining(named));
  }
  await expectNothingLeft();
});

test('a guest that panics while it is paused is gone, and leaves no lease, no copy and no snapshot', async () => {
  const cli = await pausedInSync();
  const admin = await MconsoleClient.open(guest.socketPath);
  admin.ask('sysrq c');
  await guest.waitForConsole(/Kernel panic/);
  admin.close();
  await proxy.release('sysrq s');
  const { exitCode, json } = await cli.exited;
  expect(exitCode).toBe(1);
  expect(json.at(-1)).toMatchObject({ status: 'failed', snapshot: null, error: { code: 'GuestGone' } });
  await expectNothingLeft();
});

test('a guest that reboots in the middle of the job is another guest: nothing of it counts', async () => {
  guest = await house.boot({ writer: 'lines', unlockedDisks: true });
  await house.configure({ one: settingsOf(guest, { pauseBudget: '3s' }) });
  const cli = snapshot();
  await cli.waitForOutput(/"phase":"quiesce"/);
  await guest.mconsole('reboot');
  const { exitCode, json } = await cli.exited;
  const summary = json.at(-1) ?? {};
  expect([0, 1]).toContain(exitCode);
  if (exitCode === 1) {
    expect(summary).toMatchObject({ status: 'failed', snapshot: null });
    expect(await house.listed()).toEqual([]);
  }
  const timesUp = async () => (await guest.console()).match(/test guest is up/g)?.length;
  await waitFor('the guest to be up again', async () => (await timesUp()) === 2);
  // Its shell comes up a little later than its console says.
  const isUp = async () => (await guest.sh('cat /tmp/ticks && echo up', 2000).catch(() => '')).endsWith('up');
  await waitFor('its shell', isUp);
  await expectRunning(guest);
  await expectNothingLeft();
});
