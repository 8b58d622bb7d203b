import { afterEach, describe, expect, test } from 'vitest';
import { readProcessStat } from '../../src/process-identity.js';
import { monotonicMs } from '../fixtures/fake-guest.js';
import type { RunningCli } from '../support/cli.js';
import { readOrNothing } from '../support/guest-processes.js';
import { startHeldInSync } from '../support/held-job.js';
import { expectFailed, expectRuns, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** SIGSTOP and SIGKILL to whoever has a part in a pause: the guest, the orchestrator, the guardian, recover; and a stop of an admin's. */

const scene = setScene({ on: 'xfs', proxied: true, guest: { writer: 'lines' } });
afterEach(async () => {
  process.kill(scene.guest.pid, 'SIGCONT');
  for (const command of ['stop', 'sysrq s', 'go']) await scene.proxy.release(command);
  await scene.expectUnharmed();
});

const whilePaused = (...options: string[]) =>
  startHeldInSync(scene.proxy, () => scene.startSnapshot(...options));

async function standStill(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await waitFor('the process to stand still', () => readProcessStat(pid)?.state === 'T');
}

const guardians = () =>
  scene.processes().filter((pid) => readOrNothing(`/proc/${pid}/cmdline`).includes('guardian-process'));

/** The messages about `go` since then. */
async function gosSince(atMs: number) {
  return (await scene.proxy.events()).filter((event) => event.command === 'go' && event.atMs > atMs);
}

/** By a `go` of the guardian's, which does not wait for the budget of 60 s to pass. */
async function expectResumedAtOnce(sinceMs: number): Promise<void> {
  await expectRuns(scene.guest);
  const resumed = (await gosSince(sinceMs)).find(({ what, err }) => what === 'answer' && err === 0);
  expect((resumed?.atMs ?? Number.POSITIVE_INFINITY) - sinceMs).toBeLessThan(30_000);
}

/** A job whose stop is on its way, until it is released. */
async function withStopHeld(...options: string[]): Promise<RunningCli> {
  await scene.proxy.hold('stop');
  const cli = scene.startSnapshot(...options);
  await scene.proxy.untilHeld('stop');
  return cli;
}

test('a guest that somebody stops between the preflight and our stop is left stopped (fault 7)', async () => {
  const startedAtMs = monotonicMs();
  const cli = await withStopHeld();
  await scene.guest.mconsole('stop');
  await scene.proxy.release('stop');
  const { error } = expectFailed(resultOf(await cli.exited), 'GuestAlreadyStopped');
  expect(error?.phase).toBe('stop');
  expect(await gosSince(startedAtMs)).toEqual([]);
  // Refused by a guest that runs.
  expect(await scene.guest.mconsole('go')).toBe('');
});

describe('a guest that is SIGSTOPped with our stop in its queue', () => {
  async function withStopQueued(): Promise<RunningCli> {
    const cli = await withStopHeld('--budget', '1s');
    await standStill(scene.guest.pid);
    await scene.proxy.release('stop');
    return cli;
  }

  test('and continued within our patience pauses late, and is resumed: nothing counts as a snapshot (fault 3)', async () => {
    const cli = await withStopQueued();
    // The budget passes, and `go` after `go` queues up behind the stop.
    const fromMs = monotonicMs();
    await waitFor('three gos', async () => (await gosSince(fromMs)).length >= 3);
    process.kill(scene.guest.pid, 'SIGCONT');
    expectFailed(resultOf(await cli.exited), 'StopUnanswered');
  });

  test('and continued after we have given up waiting is resumed by the guardian that stays (fault 4)', async () => {
    const cli = await withStopQueued();
    const summary = expectFailed(resultOf(await cli.exited), 'GuestMayBePaused', 20);
    expect(summary.resumed).toBe(false);
    await waitFor('all but the guardian to end', () => scene.processes().length === 1);
    expect(guardians()).toHaveLength(1);
    expect(await scene.leases()).toHaveLength(1);
    process.kill(scene.guest.pid, 'SIGCONT');
    await waitFor('the guardian to end', () => scene.processes().length === 0);
    await expectRuns(scene.guest);
    expect(await scene.run('recover')).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

describe('while the guest is paused', () => {
  test('the orchestrator that is SIGSTOPped does not lengthen the pause beyond its budget (fault 45)', async () => {
    const cli = await whilePaused('--budget', '700ms');
    await standStill(cli.pid);
    // By nobody but the guardian: the orchestrator still stands.
    await expectRuns(scene.guest).finally(() => cli.kill('SIGCONT'));
    await scene.proxy.release('sysrq s');
    expectFailed(resultOf(await cli.exited), 'PauseBudgetExceeded');
  });

  test('the guardian that is killed is noticed at once, and the guest resumed (fault 47)', async () => {
    const cli = await whilePaused();
    const killedAtMs = monotonicMs();
    for (const pid of guardians()) process.kill(pid, 'SIGKILL');
    expectFailed(resultOf(await cli.exited), 'GuardianFailed');
    await expectResumedAtOnce(killedAtMs);
  });

  test('the whole process group of the command that is killed does not reach the guardian (fault 47)', async () => {
    const cli = await startHeldInSync(scene.proxy, () =>
      scene.start(['snapshot', 'debian'], { detached: true }),
    );
    const killedAtMs = monotonicMs();
    process.kill(-cli.pid, 'SIGKILL');
    await cli.exited;
    await expectResumedAtOnce(killedAtMs);
    await waitFor('the guardian to end', () => scene.processes().length === 0);
    expect(await scene.run('recover')).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('a recover that is killed in its turn is made good by the next (fault 49)', async () => {
    const cli = await whilePaused();
    scene.killCommands();
    await cli.exited;
    // Not before it has sent its go, which is lost.
    const fromMs = monotonicMs();
    await scene.proxy.drop('go', 10_000, 'request');
    const recover = scene.start(['recover']);
    await waitFor('its go', async () => (await gosSince(fromMs)).length > 0);
    recover.kill('SIGKILL');
    await recover.exited;
    expect(await scene.leases()).toHaveLength(1);
    await scene.proxy.release('go');
    const json = [{ resumed: ['debian'] }];
    expect(await scene.run('recover', '--json')).toMatchObject({ exitCode: 0, stderr: '', json });
  });
});
