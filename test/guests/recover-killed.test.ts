import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { RunningCli } from '../support/cli.js';
import { resumeHeld, startHeldInPause } from '../support/held-job.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { expectRunning, type Listed, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** What a killed job leaves behind, and what `recover` makes of it. The disk is large enough to be killed in its copy. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;

beforeAll(async () => {
  house = await TestHouse.build({ sizeMiB: 3072 });
  guest = await house.boot({ sizeMiB: 512, fillMiB: 256 });
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
  await house.configure({ one: settingsOf(guest, { mconsole: proxy.socketPath }) });
});
afterAll(async () => {
  await proxy.close();
  await house.remove();
});
let listedBefore: Listed[];
beforeEach(async () => {
  await house.expectAllWell();
  listedBefore = await house.listed();
});

const snapshot = (...options: string[]) => house.start(['--json', 'snapshot', 'one', ...options]);

async function kill(cli: RunningCli): Promise<void> {
  cli.kill('SIGKILL');
  expect((await cli.exited).signal).toBe('SIGKILL');
}

const pausesOfNewestJob = () =>
  house.withHistory(async (history) => {
    const [newest] = await history.jobs({ limit: 1 });
    return (newest && (await history.job(newest.job))?.pauses) ?? [];
  });

/** A job that was killed is closed by one recover, whose second run finds nothing. */
async function expectRecovered(): Promise<void> {
  const { job } = await house.newestJob();
  expect(await house.incomings()).toHaveLength(1);
  const recovered = await house.run(['--json', 'recover']);
  expect(recovered).toMatchObject({ exitCode: 0, stderr: '' });
  expect(recovered.json).toEqual([
    expect.objectContaining({ closedJobs: [job], discarded: [`one/${job}`], mayBePaused: [], problems: [] }),
  ]);
  expect(await house.newestJob()).toMatchObject({
    ...{ job, status: 'interrupted', error: { code: 'Interrupted' } },
  });
  const again = await house.run(['recover']);
  expect(again).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n', stderr: '' });
  expect(await house.listed()).toEqual(listedBefore);
  await house.expectAllWell();
}

describe('after kill -9 of a snapshot', () => {
  test('in the middle of its capture the guest runs before recover does, and recover closes and clears the rest', async () => {
    const cli = snapshot('--capture', 'copy');
    await waitFor('bytes in the incoming copy', () => copiedBytes() > 0, { everyMs: 1 });
    await kill(cli);
    await expectRunning(guest);
    await expectRecovered();
    const pauses = await pausesOfNewestJob();
    expect(pauses.map(({ endedBy }) => endedBy)).toEqual(['guardian']);
    expect(pauses[0]?.pausedMs).toBeGreaterThan(0);
  });

  test('in its seal there is no snapshot of it, and recover throws the copy away', async () => {
    const cli = snapshot();
    await cli.waitForOutput(/"phase":"seal"/);
    await kill(cli);
    await expectRunning(guest);
    await expectRecovered();
    expect((await pausesOfNewestJob()).map(({ endedBy }) => endedBy)).toEqual(['request']);
  });

  test('together with its guardian the guest stands still, and recover resumes it', async () => {
    await proxy.hold('stop', 'answer');
    const cli = snapshot();
    await proxy.untilHeld('stop', 'answer');
    house.killCommands();
    await cli.exited;
    await proxy.release('stop');
    await expect(guest.sh('true', 500)).rejects.toThrow(/did not answer/);
    const { job } = await house.newestJob();
    const recovered = await house.run(['--json', 'recover']);
    expect(recovered).toMatchObject({ exitCode: 0, stderr: '' });
    expect(recovered.json).toEqual([
      expect.objectContaining({ resumed: ['one'], closedJobs: [job], discarded: [`one/${job}`] }),
    ]);
    expect((await pausesOfNewestJob()).map(({ endedBy }) => endedBy)).toEqual(['recover']);
    await house.expectAllWell();
  });

  test('the next snapshot recovers by itself, and succeeds', async () => {
    const cli = snapshot();
    await cli.waitForOutput(/"phase":"seal"/);
    await kill(cli);
    const { job } = await house.newestJob();
    expect(await house.run(['snapshot', 'one'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await house.jobs()).find((found) => found.job === job)?.status).toBe('interrupted');
    await house.expectAllWell();
  });
});

describe('recover while a job is at work', () => {
  test('leaves its incoming copy, its lease and its paused guest alone', async () => {
    const cli = await startHeldInPause(proxy, () => snapshot());
    const before = { incomings: await house.incomings(), leases: await house.leases() };
    expect(before).toMatchObject({ incomings: [expect.any(String)], leases: [expect.any(String)] });
    const recovered = await house.run(['recover']);
    expect(recovered).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n', stderr: '' });
    expect({ incomings: await house.incomings(), leases: await house.leases() }).toEqual(before);
    expect(await house.newestJob()).toMatchObject({ status: 'running' });
    await resumeHeld(proxy);
    expect(await cli.exited).toMatchObject({ exitCode: 0 });
    expect(await pausesOfNewestJob()).toMatchObject([{ endedBy: 'request' }]);
    await house.expectAllWell();
  });
});

/** Of the incoming copy of the guest's disk; holes don't count. */
function copiedBytes(): number {
  try {
    const store = join(house.store, 'one');
    const incoming = readdirSync(store).find((name) => name.startsWith('.incoming-'));
    return incoming === undefined ? 0 : statSync(join(store, incoming, 'ubd0.img')).blocks * 512;
  } catch {
    return 0; // not there yet
  }
}
