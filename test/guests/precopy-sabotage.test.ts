import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { traceInstancesOf } from '../capture/traced.js';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import { resumeHeld, startHeld, startHeldInPause } from '../support/held-job.js';
import { e2fsckReplayed } from '../support/inspect-image.js';
import { runTool } from '../support/run-tool.js';
import { type Commands, expectFailed, resultOf, type SnapshotResult, setScene } from '../support/scene.js';

/** Somebody else writes the disk of a real guest under a traced precopy: whatever comes of it, it is no snapshot by that tracing. */

const untraced = await whyNoTracing();
const tracefs = '/sys/kernel/tracing';
const skipped = untraced === null ? '' : ` (skipped: ${untraced})`;

describe.skipIf(untraced !== null)(`a disk that is traced, and that a stranger writes${skipped}`, () => {
  const settings = { capture: 'precopy' };
  const scene = setScene({ guest: { sizeMiB: 48, fillMiB: 4 }, proxied: true, settings });
  const pauses = async () => (await scene.proxy.pauses()).length;

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

  test.each<[string, (instance: string, pid: number) => Promise<unknown>]>([
    ['that a stranger writes', writeAsStranger],
    [
      'whose trace buffer somebody cuts to 4 KiB',
      (instance) => writeFile(join(tracefs, 'instances', instance, 'buffer_size_kb'), '4'),
    ],
    [
      'whose tracefs is unmounted',
      (_, pid) => runTool('nsenter', ['-t', String(pid), '-m', 'umount', '-l', tracefs]),
    ],
  ])('%s before the stop is compared in the only pause there is, with a warning', async (_, spoil) => {
    const pausesBefore = await pauses();
    const unshared = ['unshare', '--mount', '--propagation', 'private'];
    const job = await startHeld(scene, [], await scene.variant({}, {}, unshared));
    const [instance = 'none'] = traceInstancesOf(job.cli.pid);
    await spoil(instance, job.cli.pid);
    await scene.guest.sh('dd if=/dev/urandom of=/data/more bs=64k count=16 2> /dev/null; sync');
    const result = await job.end();
    await expectCompared(result, pausesBefore, 0);
    const warnings = result.summary.warnings.join('\n');
    expect(warnings).toContain('the disks were compared while the guest stood still');
    // Where the job could not reach it any more, the next one finds it.
    if (traceInstancesOf(job.cli.pid).length > 0) expect((await scene.run('recover')).exitCode).toBe(0);
    expect(traceInstancesOf(job.cli.pid)).toEqual([]);
    await scene.expectWell();
  });

  /** A job during which the stranger writes while the guest stands still, with the capture still to come. */
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

  test('fails the job where nothing but tracing is wanted, and the guest runs', async () => {
    const traced = await scene.variant({ precopyTracker: 'traced' });
    const summary = expectFailed(await spoiledInPause(traced), 'TrackingLost');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    await scene.expectUnharmed();
  });
});
