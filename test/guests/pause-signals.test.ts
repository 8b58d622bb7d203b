import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readProcessStat } from '../../src/process-identity.js';
import { monotonicMs } from '../fixtures/fake-guest.js';
import type { RunningCli } from '../support/cli.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { expectRunning, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** SIGSTOP and SIGKILL to whoever has a part in a pause: the guest, the orchestrator, the guardian, recover. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;

beforeAll(async () => {
  house = await TestHouse.build({ sizeMiB: 512 });
  guest = await house.boot({ writer: 'lines' });
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
  await house.configure({ one: settingsOf(guest, { mconsole: proxy.socketPath }) });
});
afterAll(async () => {
  await proxy.close();
  await house.remove();
});
afterEach(async () => {
  for (const command of ['stop', 'sysrq s', 'go']) await proxy.release(command);
  await house.expectAllWell();
});

const slackMs = 2000;
const snapshot = (...options: string[]) => house.start(['--json', 'snapshot', 'one', ...options]);

/** Holds a snapshot whose `stop` is on the way. */
async function beforeStop(...options: string[]): Promise<RunningCli> {
  await proxy.hold('stop');
  const cli = snapshot(...options);
  await proxy.untilHeld('stop');
  return cli;
}

/** Holds a snapshot where its guest stands still: in its sync, whose `sysrq s` is on the way. */
async function whilePaused(...options: string[]): Promise<RunningCli> {
  const cli = await beforeStop(...options);
  await proxy.hold('sysrq s');
  await proxy.release('stop');
  await proxy.untilHeld('sysrq s');
  return cli;
}

async function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
  process.kill(pid, name);
  if (name === 'SIGSTOP')
    await waitFor('the process to stand still', () => readProcessStat(pid)?.state === 'T');
}

function guardianPid(): number {
  const isGuardian = (pid: number) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('guardian-process');
  const pid = house.processes().find(isGuardian);
  if (pid === undefined) throw new Error('there is no guardian');
  return pid;
}

/** When the last `go` was answered as having resumed the guest. */
async function resumedAtMs(): Promise<number> {
  const resumed = (await proxy.events()).filter(
    ({ what, command, err }) => what === 'answer' && command === 'go' && err === 0,
  );
  return resumed.at(-1)?.atMs ?? Number.NaN;
}

const failure = ({ json }: { json: Record<string, unknown>[] }) => json.at(-1)?.error;

describe('a guest that is SIGSTOPped with our stop in its queue', () => {
  test('and continued within our patience pauses late, and is resumed: nothing counts as a snapshot', async () => {
    const cli = await beforeStop('--budget', '1s');
    await signal(guest.pid, 'SIGSTOP');
    await proxy.release('stop');
    // The budget passes, and `go` after `go` queues up behind the stop.
    const before = await gos();
    await waitFor('three gos', async () => (await gos()) >= before + 3);
    await signal(guest.pid, 'SIGCONT');
    const result = await cli.exited;
    expect(result).toMatchObject({ exitCode: 1 });
    expect(failure(result)).toMatchObject({ code: 'StopUnanswered' });
  });

  test('and continued after we have given up waiting is resumed by the guardian that stays', async () => {
    const cli = await beforeStop('--budget', '1s');
    await signal(guest.pid, 'SIGSTOP');
    await proxy.release('stop');
    const result = await cli.exited;
    expect(result.exitCode).toBe(20);
    expect(result.json.at(-1)).toMatchObject({ resumed: false, error: { code: 'GuestMayBePaused' } });
    expect(house.processes()).toEqual([guardianPid()]);
    expect(await house.leases()).toHaveLength(1);
    await signal(guest.pid, 'SIGCONT');
    await waitFor('the guardian to end', () => house.processes().length === 0);
    await expectRunning(guest);
    expect(await house.run(['recover'])).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

async function gos(): Promise<number> {
  const events = await proxy.events();
  return events.filter(({ what, command }) => what === 'request' && command === 'go').length;
}

describe('while the guest is paused', () => {
  test('the orchestrator that is SIGSTOPped does not lengthen the pause beyond its budget', async () => {
    const cli = await whilePaused('--budget', '700ms');
    await signal(cli.pid, 'SIGSTOP');
    await expectRunning(guest);
    const pausedMs = (await proxy.pauses()).at(-1);
    expect(pausedMs).toBeLessThan(700 + slackMs);
    await signal(cli.pid, 'SIGCONT');
    await proxy.release('sysrq s');
    const result = await cli.exited;
    expect(result.exitCode).toBe(1);
    expect(failure(result)).toMatchObject({ code: 'PauseBudgetExceeded' });
  });

  test('the guardian that is killed is noticed at once, and the guest resumed', async () => {
    const cli = await whilePaused();
    const killedAtMs = monotonicMs();
    process.kill(guardianPid(), 'SIGKILL');
    const result = await cli.exited;
    expect(result.exitCode).toBe(1);
    expect(failure(result)).toMatchObject({ code: 'GuardianFailed' });
    expect((await resumedAtMs()) - killedAtMs).toBeLessThan(slackMs);
    await proxy.release('sysrq s');
  });

  test('the whole process group of the command that is killed does not reach the guardian', async () => {
    await proxy.hold('stop');
    const cli = house.start(['--json', 'snapshot', 'one'], { detached: true });
    await proxy.untilHeld('stop');
    await proxy.hold('sysrq s');
    await proxy.release('stop');
    await proxy.untilHeld('sysrq s');
    const killedAtMs = monotonicMs();
    process.kill(-cli.pid, 'SIGKILL');
    await cli.exited;
    await expectRunning(guest);
    expect((await resumedAtMs()) - killedAtMs).toBeLessThan(slackMs);
    await proxy.release('sysrq s');
    await waitFor('the guardian to end', () => house.processes().length === 0);
    expect(await house.run(['recover'])).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('a recover that is killed in its turn is made good by the next', async () => {
    const cli = await whilePaused();
    for (const pid of house.processes()) process.kill(pid, 'SIGKILL');
    await cli.exited;
    await proxy.release('sysrq s');
    await expect(guest.sh('true', 300)).rejects.toThrow(/did not answer/);
    for (let killed = 0; killed < 2; killed++) {
      // Not before it has sent its go, and with the guest still paused.
      await proxy.hold('go');
      const recover = house.start(['recover']);
      await proxy.untilHeld('go');
      recover.kill('SIGKILL');
      await recover.exited;
      expect(await house.leases()).toHaveLength(1);
    }
    await proxy.release('go');
    expect(await house.run(['recover'])).toMatchObject({ exitCode: 0, stderr: '' });
  });
});
