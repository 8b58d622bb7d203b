import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { failure, inBulk } from './failing.js';
import { factsOf, mayCompare, type PrecopyScene, withPrecopyScene } from './precopy-scene.js';

const untraceable = await whyNoTracing();
const mib = 1024 ** 2;
const idle = new AbortController().signal;

const byAnother = ({ disk }: PrecopyScene) => writeFile(disk.path, 'by another', { flag: 'r+' });

describe.skipIf(untraceable !== null)('a tracker in doubt', () => {
  test('from the start on has the disks compared, and says why', () =>
    withPrecopyScene('traced', {}, async (scene) => {
      const { tracking } = mayCompare(scene, true);
      const armed = await scene.arm({ tracking: { ...tracking, writers: [{ pid: 1, tid: 2 ** 22 - 1 }] } });
      await scene.capture(armed);
      expect(factsOf(armed)).toMatchObject({ tracker: 'compared', proof: null });
      expect(factsOf(armed).trackerProblem).toMatch(/./);
    }));

  test('in the bulk copy has the disks compared without a pause in vain', () =>
    withPrecopyScene('traced', {}, async (scene) => {
      const { arming } = await inBulk(scene, { ...mayCompare(scene, true), bytesPerSecond: 4 * mib });
      await byAnother(scene);
      const armed = await arming;
      await scene.capture(armed);
      expect(factsOf(armed).tracker).toBe('compared');
    }));

  test('in the pause lets the guest go, and the next pause compares', () =>
    withPrecopyScene('traced', {}, async (scene) => {
      const armed = await scene.arm(mayCompare(scene, true));
      await scene.writer.obey('pwrite', 5 * mib, 50_000);
      await armed.catchUp(idle);
      await scene.pause();
      await byAnother(scene);
      expect(await failure('TrackingLost', armed.run(idle))).toMatch(/./);
      expect(factsOf(armed)).toMatchObject({ tracker: 'compared', proof: 'failed' });
      scene.resume();
      await scene.writer.obey('pwrite', 7 * mib, 50_000);
      await scene.capture(armed);
      expect(factsOf(armed).comparedBytes).toBeGreaterThan(0);
    }));

  test('where nothing may be compared instead ends the bulk copy at once, and fails the capture for good', () =>
    withPrecopyScene('traced', {}, async (scene) => {
      // It would take longer than this test may.
      const { arming } = await inBulk(scene, { ...mayCompare(scene, false), bytesPerSecond: mib / 8 }, false);
      await byAnother(scene);
      expect(await failure('TrackingLost', arming)).toMatch(/wrote to a disk|opened a disk/);
      expect(await readdir(join(scene.dir, 'store'))).toEqual([]);
      const armed = await scene.arm(mayCompare(scene, false));
      await byAnother(scene);
      for (const step of ['catchUp', 'catchUp', 'run'] as const)
        expect(await failure('TrackingLost', armed[step](idle))).toMatch(/./);
    }));
});

test('a comparison is refused while somebody has the disk mapped: what he stores would show nowhere', () =>
  withPrecopyScene('compared', {}, async (scene) => {
    const armed = await scene.arm();
    await armed.catchUp(idle);
    await scene.writer.obey('mmap');
    expect(await failure('SourceChanged', armed.catchUp(idle))).toMatch(/mapped into its memory/);
  }));
