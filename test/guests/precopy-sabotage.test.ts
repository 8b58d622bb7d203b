import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import { type HeldJob, startHeld } from '../snapshot/held-job.js';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  type Records,
  recordsOf,
  type Scene,
  type SnapshotResult,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { e2fsckReplayed } from '../support/inspect-image.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { traceInstancesOf } from './trace-instances.js';

/** Somebody else writes the disk of a real guest under a traced precopy: whatever comes of it, it is no snapshot by that tracing. */

const untraced = await whyNoTracing();
const tracefs = '/sys/kernel/tracing';
const set = (instance: string, file: string, value: string) => writeFile(join(instance, file), value);
const skipped = untraced === null ? '' : ` (skipped: ${untraced})`;

describe.skipIf(untraced !== null)(`a disk that is traced, and that a stranger writes${skipped}`, () => {
  let dir: string;
  let guest: RealGuest;
  let proxy: MconsoleProxy;
  let before: Records;

  beforeAll(async () => {
    dir = await makeTempDir();
    guest = await bootGuest({ dir, writer: 'none', sizeMiB: 64, fillMiB: 8, rc: ticker });
    proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
  });
  afterAll(async () => {
    await proxy?.close();
    await guest?.kill();
    await removeTempDir(dir);
  });
  beforeEach(async () => {
    before = await recordsOf(await sceneWith('auto'));
  });

  function sceneWith(tracker: 'auto' | 'traced'): Promise<Scene> {
    const settings = { capture: 'precopy', precopyTracker: tracker, pauseBudget: '20s' };
    return setScene({ dir, mconsole: proxy.socketPath, disks: guest.disks, settings });
  }

  /** The first block of the disk, by what is there already: it harms no guest, and is a write all the same. */
  async function writeAsStranger(): Promise<void> {
    const { diskPath } = guest;
    await runTool('dd', [`if=${diskPath}`, `of=${diskPath}`, 'bs=4096', 'count=1', 'conv=notrunc']);
  }

  /** Holds the guest in its pause, with the capture still to come, while `use` runs. */
  async function inPause(job: HeldJob, use: () => Promise<void>): Promise<void> {
    await proxy.hold('stop');
    await job.letGo();
    await proxy.untilHeld('stop');
    await proxy.hold('sysrq s');
    await proxy.release('stop');
    await proxy.untilHeld('sysrq s');
    await use();
    await proxy.release('sysrq s');
  }

  async function expectSound(scene: Scene, { snapshot }: SnapshotResult['summary']): Promise<void> {
    const to = join(dir, `restored-${snapshot}`);
    expect((await scene.run('restore', snapshot ?? '', '--to', to)).stderr).toBe('');
    expect(await e2fsckReplayed(join(to, 'ubd0.img'))).toMatchObject({ clean: true });
  }

  test('before the stop has its disk compared in the only pause there is, with a warning', async () => {
    const scene = await sceneWith('auto');
    const pausesBefore = (await proxy.pauses()).length;
    const job = await startHeld(scene, proxy);
    await writeAsStranger();
    const { summary, stderr, exitCode } = await job.end();
    expect(summary, stderr).toMatchObject({ error: null, tracker: 'compared', consistency: 'synced' });
    expect(summary.warnings.join('\n')).toMatch(
      /tracing was given up \(.+\): the disks were compared while the guest stood still/,
    );
    expect(exitCode).toBe(3);
    expect((await proxy.pauses()).slice(pausesBefore)).toHaveLength(Number(summary.tries));
    expect(traceInstancesOf(job.cli.pid)).toEqual([]);
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  const spoilers: [string, (instance: string) => Promise<unknown>][] = [
    ['whose trace buffer somebody cuts to 4 KiB', (instance) => set(instance, 'buffer_size_kb', '4')],
    ['whose tracing somebody switches off', (instance) => set(instance, 'tracing_on', '0')],
    ['whose tracefs is unmounted', () => runTool('umount', ['-l', tracefs])],
  ];

  test.each(spoilers)('and %s half-way, is compared, with a warning', async (_, spoil) => {
    const scene = await sceneWith('auto');
    const job = await startHeld(scene, proxy);
    const [instance = 'none'] = traceInstancesOf(job.cli.pid);
    try {
      await spoil(join(tracefs, 'instances', instance));
      await guest.sh('dd if=/dev/urandom of=/data/more bs=64k count=16 2> /dev/null; sync');
      const { summary, stderr } = await job.end();
      expect(summary, stderr).toMatchObject({ error: null, tracker: 'compared', consistency: 'synced' });
      expect(summary.warnings.join('\n')).toContain('tracing was given up');
      await expectSound(scene, summary);
    } finally {
      // Nothing to do where it still is, and elsewhere what `umount` has taken away.
      if (!existsSync(join(tracefs, 'instances')))
        await runTool('mount', ['-t', 'tracefs', 'tracefs', tracefs]);
    }
    // Where the job could not reach it any more, the next one finds it.
    expect((await scene.run('recover')).exitCode).toBe(0);
    expect(traceInstancesOf(job.cli.pid)).toEqual([]);
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  test('in the pause has the guest let go, and compared in another pause that is no further try', async () => {
    const scene = await sceneWith('auto');
    const job = await startHeld(scene, proxy);
    const pausesBefore = (await proxy.pauses()).length;
    await inPause(job, writeAsStranger);
    const { summary, stderr } = await job.end();
    expect(summary, stderr).toMatchObject({ error: null, tracker: 'compared', consistency: 'synced' });
    expect(summary.warnings.join('\n')).toContain('tracing was given up');
    const pauses = (await proxy.pauses()).slice(pausesBefore);
    expect(pauses).toHaveLength(Number(summary.tries) + 1);
    const captures = summary.phases.filter(({ phase }) => phase === 'capture');
    expect(captures).toMatchObject([
      { outcome: 'failed', facts: { trackingLost: expect.any(String) } },
      { outcome: 'done', facts: { tracker: 'compared', comparedBytes: expect.any(Number) } },
    ]);
    await expectSound(scene, summary);
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  test('fails the job where nothing but tracing is wanted, and the guest runs', async () => {
    const scene = await sceneWith('traced');
    const job = await startHeld(scene, proxy);
    await inPause(job, writeAsStranger);
    const summary = expectFailed(await job.end(), 'TrackingLost');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    expect(traceInstancesOf(job.cli.pid)).toEqual([]);
    await expectRuns(guest);
    const after = await expectNothingLost(scene, before);
    expect(after.sound).toEqual(before.sound);
  });
});
