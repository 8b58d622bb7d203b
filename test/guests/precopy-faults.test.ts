import { copyFile, rename } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { captureChildrenOf, traceInstancesOf } from '../capture/traced.js';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import type { RunningCli } from '../support/cli.js';
import { expectFailed, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * How a real guest's disk is captured where no reflink is possible: by what, why, and what may go wrong, by the command line. What a
 * tracker has to do with it, test/capture/precopy asks of both.
 */

const untraced = await whyNoTracing();
const traced = untraced === null ? 'traced' : 'compared';
const skipped = untraced === null ? '' : ` (skipped: ${untraced})`;
// Captured in the first pause, however dirty the guest is then.
const settings = { capture: 'precopy', require: 'crash', syncTries: 1 };
const scene = setScene({ guest: { writer: 'lines', sizeMiB: 48, fillMiB: 8 }, proxied: true, settings });

/** Has the guest overwrite more than is copied in 3 s at that rate. */
const flood = 'dd if=/dev/urandom of=/data/flood bs=1M count=6 conv=notrunc,fsync 2>/dev/null';
const slowly = { precopyRate: '2MiB/s' };
beforeAll(async () => {
  await scene.guest.sh(flood);
  expect((await scene.snapshot()).summary.error).toBeNull();
  await scene.expectWell();
});

/** A snapshot that such a guest takes part in without an end. */
async function flooded(more: Record<string, unknown>) {
  const commands = await scene.variant({ ...slowly, ...more });
  await scene.guest.sh(`(while :; do ${flood}; nap 1; done) > /dev/null 2>&1 & echo $! > /tmp/flood`);
  const result = await commands.snapshot().finally(() => scene.guest.sh('kill $(cat /tmp/flood)'));
  return { ...result, warnings: result.summary.warnings.join('\n') };
}

const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

describe.skipIf(untraced !== null)(`where writes can be traced${skipped}`, () => {
  test('they are, if the config leaves the choice to us', async () => {
    const { summary, stderr } = await scene.snapshot();
    expect(summary, stderr).toMatchObject({
      ...{ method: 'precopy', tracker: 'traced', reason: 'the config asks for a precopy', error: null },
      precopy: { proof: 'held' },
    });
    const shown = (await scene.run('show', String(summary.job))).stdout;
    expect(shown).toMatch(/^precopy .*tracker=traced .*precopied=[\d.]+MiB rounds=\d+ converged=true/m);
    expect(shown).toMatch(/^capture .*tracker=traced paused=.*proof=held/m);
    await scene.expectWell();
  });

  test('a guest that writes faster than it may be copied is told, with both rates, and ends (fault 27)', async () => {
    const { exitCode, summary, stderr, warnings } = await flooded({
      ...{ precopyTracker: 'traced', pauseTarget: '1ms' },
    });
    expect(summary, stderr).toMatchObject({ error: null, precopy: { converged: false, proof: 'held' } });
    expect(warnings).toMatch(
      /the guest wrote faster than it could be copied: about .*B\/s, and it was copied at .*B\/s/,
    );
    expect(exitCode).toBe(3);
    await scene.expectWell();
  });

  test('who may not trace compares all the same and is told what to do, but leaves the guest alone if the config wants tracing', async () => {
    // A mount namespace in which tracefs is not mounted, and a root that may not mount it: a container's.
    const unmount = 'umount -l /sys/kernel/tracing; umount -l /sys/kernel/debug/tracing 2>/dev/null';
    const asContainer = `${unmount}; exec setpriv --bounding-set -sys_admin "$@"`;
    const inContainer = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', asContainer, 'sh'];
    const { summary, exitCode, stderr } = await (await scene.variant({}, {}, inContainer)).snapshot();
    expect(summary, stderr).toMatchObject({
      ...{ method: 'precopy', tracker: 'compared', error: null, status: 'warning' },
      precopy: { trackerProblem: null, comparedBytes: expect.any(Number) },
    });
    expect(summary.reason).toMatch(
      /writes can't be traced \(tracefs is not mounted .*run as root, or mount it/,
    );
    expect(summary.warnings.join('\n')).toMatch(/MiB of data are compared, about/);
    expect(exitCode).toBe(3);
    await scene.expectWell();

    const stopsBefore = await stops();
    const commands = await scene.variant({ precopyTracker: 'traced' }, {}, inContainer);
    expect(expectFailed(await commands.snapshot(), 'CaptureImpossible').error).toMatchObject({
      ...{ phase: 'preflight', message: expect.stringContaining('tracefs is not mounted') },
    });
    expect(await stops()).toBe(stopsBefore);
    await scene.expectUnharmed();
  });
});

describe('a guest whose disks are compared', () => {
  test('and copied slowly ends as well, however fast it writes (fault 27)', async () => {
    const { summary, stderr, warnings } = await flooded({ precopyTracker: 'compared' });
    expect(summary, stderr).toMatchObject({
      ...{ error: null, tracker: 'compared', precopy: { converged: false } },
    });
    expect(warnings).toMatch(
      /the guest wrote faster than it could be copied and compared: it was copied at .*B\/s/,
    );
    await scene.expectWell();
  });

  test('is not even stopped when that would take longer than its budget (fault 27)', async () => {
    const stopsBefore = await stops();
    const commands = await scene.variant({ precopyTracker: 'compared', pauseBudget: '1ms' });
    const { error } = expectFailed(await commands.snapshot(), 'PredictedPauseOverBudget');
    // At once where it is hopeless, and else when it was measured on the disk and its copy.
    expect(['preflight', 'quiesce']).toContain(error?.phase);
    expect(error?.message).toMatch(/\(comparing of [\d.]+ MiB\), its budget is 1 ms/);
    expect(await stops()).toBe(stopsBefore);
    await scene.expectUnharmed();
  });
});

describe(`a precopy${untraced === null ? '' : ` (none is traced: ${untraced})`}`, () => {
  async function expectUnharmed({ pid }: RunningCli): Promise<void> {
    expect(traceInstancesOf(pid)).toEqual([]);
    await scene.expectUnharmed();
  }

  /** A job in the middle of its bulk copy, which takes half a minute. */
  async function inBulk(tracker: string, precopyRate = '512KiB/s'): Promise<RunningCli> {
    const cli = (await scene.variant({ precopyRate, precopyTracker: tracker })).startSnapshot();
    await cli.waitForOutput(/"doneBytes":[1-9]/);
    if (tracker === 'traced') expect(traceInstancesOf(cli.pid)).toHaveLength(1);
    return cli;
  }

  test.each([
    ['SIGINT', traced],
    ['SIGTERM', 'compared'],
  ] as const)('%s during the bulk copy undoes it at once', async (signal, tracker) => {
    const stopsBefore = await stops();
    const cli = await inBulk(tracker);
    cli.kill(signal);
    expect(resultOf(await cli.exited)).toMatchObject({
      exitCode: 130,
      summary: { status: 'interrupted', error: { code: 'Interrupted', phase: 'precopy' } },
    });
    expect(await stops()).toBe(stopsBefore);
    await expectUnharmed(cli);
  });

  test('kill -9 during the bulk copy leaves no guest paused, no copier, and what the next start removes', async () => {
    const cli = await inBulk(traced);
    expect(captureChildrenOf(cli.pid)).toHaveLength(1);
    cli.kill('SIGKILL');
    await cli.exited;
    await waitFor('the copier to end', () => scene.processes().length === 0);
    expect(await scene.incomings()).toHaveLength(1);
    const { stdout, exitCode } = await scene.run('recover');
    expect(stdout).toMatch(/threw away the incoming copy/);
    expect(exitCode).toBe(0);
    // By our start, or by that of any other umlsnap on this host.
    await expectUnharmed(cli);
  });

  test('the copier killed during the bulk copy fails the job, the guest untouched (fault 26)', async () => {
    const stopsBefore = await stops();
    const cli = await inBulk(traced);
    for (const pid of captureChildrenOf(cli.pid)) process.kill(pid, 'SIGKILL');
    const summary = expectFailed(resultOf(await cli.exited), 'CaptureFailed');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'precopy' } });
    expect(summary.error?.message).toMatch(/ended unexpectedly \(SIGKILL\)/);
    expect(await stops()).toBe(stopsBefore);
    await expectUnharmed(cli);
  });

  // Last: from here on the guest's disk has no name any more.
  test('is void when another file takes the place of its disk during the bulk copy (fault 25)', async () => {
    const { diskPath } = scene.guest;
    const other = scene.path('other.img');
    await copyFile(diskPath, other);
    // It shows when all is copied.
    const cli = await inBulk(traced, '4MiB/s');
    await rename(other, diskPath);
    const { error } = expectFailed(resultOf(await cli.exited), 'SourceChanged');
    expect(error?.message).toContain('deleted or replaced');
    await expectUnharmed(cli);
  });
});
