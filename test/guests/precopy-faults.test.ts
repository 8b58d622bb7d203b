import { copyFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { captureChildrenOf, traceInstancesOf } from '../capture/traced.js';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import type { RunningCli } from '../support/cli.js';
import { resumeHeld, startHeld, startHeldInPause } from '../support/held-job.js';
import { e2fsckReplayed } from '../support/inspect-image.js';
import { runTool } from '../support/run-tool.js';
import {
  type Commands,
  capturesAtOnce,
  expectFailed,
  resultOf,
  type SnapshotResult,
  setScene,
} from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * How a real guest's disk is captured where no reflink is possible: by what, why, and what may go wrong, by the command line. What a
 * tracker has to do with it, test/capture/precopy asks of both.
 */

const untraced = await whyNoTracing();
const skipped = untraced === null ? '' : ` (skipped: ${untraced})`;
const settings = { capture: 'precopy' };
const scene = setScene({ guest: { sizeMiB: 48, fillMiB: 8 }, proxied: true, settings });

const flood = 'dd if=/dev/urandom of=/data/flood bs=1M count=6 conv=notrunc,fsync 2>/dev/null';
beforeAll(async () => {
  await scene.guest.sh(flood);
  expect((await scene.snapshot()).summary.error).toBeNull();
  await scene.expectWell();
});

const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;
const pauses = async () => (await scene.proxy.pauses()).length;

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

test('a guest that writes faster than it may be copied and compared is told, and ends as well (fault 27)', async () => {
  const commands = await scene.variant({
    ...capturesAtOnce,
    precopyTracker: 'compared',
    precopyRate: '2MiB/s',
  });
  // More than is copied in 3 s at that rate, again and again.
  await scene.guest.sh(`(while :; do ${flood}; nap 1; done) > /dev/null 2>&1 & echo $! > /tmp/flood`);
  const flooded = await commands.snapshot().finally(() => scene.guest.sh('kill $(cat /tmp/flood)'));
  expect(flooded.summary, flooded.stderr).toMatchObject({
    ...{ error: null, tracker: 'compared', precopy: { converged: false } },
  });
  expect(flooded.summary.warnings.join('\n')).toMatch(
    /the guest wrote faster than it could be copied and compared: it was copied at .*B\/s/,
  );
  await scene.expectWell();
});

// Whatever comes of it, it is no snapshot by that tracing.
describe.skipIf(untraced !== null)(`a disk that is traced, and that a stranger writes${skipped}`, () => {
  /** The first block of the disk, by what is there already: it harms no guest, and is a write all the same. */
  async function writeAsStranger(): Promise<void> {
    const { diskPath } = scene.guest;
    await runTool('dd', [`if=${diskPath}`, `of=${diskPath}`, 'bs=4096', 'count=1', 'conv=notrunc']);
  }

  /** In spite of it, in as many pauses since then as it had tries, and these. */
  async function expectCompared(
    { summary, stderr, exitCode }: SnapshotResult,
    pausesBefore: number,
    morePauses: number,
  ): Promise<void> {
    expect(summary, stderr).toMatchObject({ error: null, tracker: 'compared', consistency: 'synced' });
    expect(summary.warnings.join('\n')).toMatch(/tracing was given up \(.+\)/);
    expect(exitCode).toBe(3);
    expect((await pauses()) - pausesBefore).toBe(Number(summary.tries) + morePauses);
    const image = join(scene.directoryOf(summary.snapshot), 'ubd0.img');
    expect(await e2fsckReplayed(image)).toMatchObject({ clean: true });
  }

  test('before the stop is compared in the only pause there is, with a warning', async () => {
    const pausesBefore = await pauses();
    const job = await startHeld(scene);
    await writeAsStranger();
    await scene.guest.sh('dd if=/dev/urandom of=/data/more bs=64k count=16 2> /dev/null; sync');
    const result = await job.end();
    await expectCompared(result, pausesBefore, 0);
    const warnings = result.summary.warnings.join('\n');
    expect(warnings).toContain('the disks were compared while the guest stood still');
    expect(traceInstancesOf(job.cli.pid)).toEqual([]);
    await scene.expectWell();
  });

  /** A job during which he writes while the guest stands still, with the capture still to come. */
  async function spoiledInPause(commands: Commands = scene): Promise<SnapshotResult> {
    const job = await startHeldInPause(scene.proxy, commands.startSnapshot);
    await writeAsStranger();
    await resumeHeld(scene.proxy);
    const result = resultOf(await job.exited);
    expect(traceInstancesOf(job.pid)).toEqual([]);
    return result;
  }

  test('in the pause has the guest let go, and compared in another pause that is no further try', async () => {
    const pausesBefore = await pauses();
    const result = await spoiledInPause();
    await expectCompared(result, pausesBefore, 1);
    expect(result.summary.phases.filter(({ phase }) => phase === 'capture')).toMatchObject([
      { outcome: 'failed', facts: { trackingLost: expect.any(String) } },
      { outcome: 'done', facts: { tracker: 'compared', comparedBytes: expect.any(Number) } },
    ]);
    await scene.expectWell();
  });

  test('in the pause fails the job where nothing but tracing is wanted, and the guest runs', async () => {
    const traced = await scene.variant({ precopyTracker: 'traced' });
    const summary = expectFailed(await spoiledInPause(traced), 'TrackingLost');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    await scene.expectUnharmed();
  });
});

describe(`a precopy${untraced === null ? '' : ` (none is traced: ${untraced})`}`, () => {
  async function expectUnharmed({ pid }: RunningCli): Promise<void> {
    expect(traceInstancesOf(pid)).toEqual([]);
    await scene.expectUnharmed();
  }

  /** A job in the middle of its bulk copy, which takes half a minute. */
  async function inBulk(precopyRate = '512KiB/s'): Promise<RunningCli> {
    const cli = (await scene.variant({ precopyRate })).startSnapshot();
    await cli.waitForOutput(/"doneBytes":[1-9]/);
    if (untraced === null) expect(traceInstancesOf(cli.pid)).toHaveLength(1);
    return cli;
  }

  test('Ctrl-C during the bulk copy undoes it at once', async () => {
    const stopsBefore = await stops();
    const cli = await inBulk();
    cli.kill('SIGINT');
    expect(resultOf(await cli.exited)).toMatchObject({
      exitCode: 130,
      summary: { status: 'interrupted', error: { code: 'Interrupted', phase: 'precopy' } },
    });
    expect(await stops()).toBe(stopsBefore);
    await expectUnharmed(cli);
  });

  test('kill -9 during the bulk copy leaves no guest paused, no copier, and what the next start removes', async () => {
    const cli = await inBulk();
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
    const cli = await inBulk();
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
    const cli = await inBulk('4MiB/s');
    await rename(other, diskPath);
    const { error } = expectFailed(resultOf(await cli.exited), 'SourceChanged');
    expect(error?.message).toContain('deleted or replaced');
    await expectUnharmed(cli);
  });
});
