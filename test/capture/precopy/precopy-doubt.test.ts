import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { failure } from '../failure.js';
import { endFakeGuest } from '../armed.js';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { factsOf, idle, type PrecopyScene, withPrecopyScene } from './precopy-scene.js';

afterAll(endFakeGuest);

const untraceable = await whyNoTracing();
const mib = 1024 ** 2;
/** The bulk copy has begun when the first is copied, and is not over for as long as the second takes. */
const smallAndLarge = [
  { offset: 0, length: 4096 },
  { offset: mib, length: 8 * mib },
];

const byAnother = ({ disk }: PrecopyScene) => writeFile(disk.sourcePath, 'by another', { flag: 'r+' });

describe.skipIf(untraceable !== null)('a tracker in doubt', () => {
  test('from the start on has the disks compared, and says why', () =>
    withPrecopyScene('traced', {}, async (scene) => {
      const writers = [{ pid: 1, tid: 2 ** 22 - 1 }];
      const armed = await scene.arm({ tracing: { ...scene.tracing(true), writers } });
      await scene.capture(armed);
      expect(factsOf(armed)).toMatchObject({ tracker: 'compared', proof: null });
      expect(factsOf(armed).trackerProblem).toMatch(/./);
    }));

  test('in the bulk copy has the disks compared without a pause in vain', () =>
    withPrecopyScene('traced', {}, async (scene) => {
      const { arming } = await scene.inBulk({ tracing: scene.tracing(true), bytesPerSecond: 4 * mib });
      await byAnother(scene);
      const armed = await arming;
      await scene.capture(armed);
      expect(factsOf(armed).tracker).toBe('compared');
    }));

  test('where nothing may be compared instead ends the bulk copy at once, and fails the capture for good', () =>
    withPrecopyScene('traced', { pieces: smallAndLarge }, async (scene) => {
      // It would take longer than this test may.
      const { arming } = await scene.inBulk({ bytesPerSecond: mib / 64 });
      await byAnother(scene);
      expect(await failure('TrackingLost', arming)).toMatch(/wrote to a disk|opened a disk/);
      expect(await readdir(join(scene.dir, 'store'))).toEqual([]);
      const armed = await scene.arm();
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
