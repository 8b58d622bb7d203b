import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { failure, inBulk } from './failing.js';
import { factsOf, type PrecopyScene, withPrecopyScene } from './precopy-scene.js';

const untraceable = await whyNoTracing();
const mib = 1024 ** 2;
const idle = new AbortController().signal;

describe.skipIf(untraceable !== null)('a tracker in doubt', () => {
  const mayCompare = ({ writer: { pid, tid } }: PrecopyScene, may: boolean) => ({
    tracking: { by: 'tracing' as const, writers: [{ pid, tid }], guestPids: [pid], mayCompare: may },
  });

  test('from the start on has the disks compared, and says why', async () => {
    await withPrecopyScene('traced', {}, async (scene) => {
      const { tracking } = mayCompare(scene, true);
      const armed = await scene.arm({ tracking: { ...tracking, writers: [{ pid: 1, tid: 2 ** 22 - 1 }] } });
      await scene.capture(armed);
      expect(factsOf(armed)).toMatchObject({ tracker: 'compared', proof: null });
      expect(factsOf(armed).trackerProblem).toMatch(/./);
    });
  });

  test('in the bulk copy has the disks compared without a pause in vain', async () => {
    await withPrecopyScene('traced', {}, async (scene) => {
      const { arming } = await inBulk(scene, { ...mayCompare(scene, true), bytesPerSecond: 16 * mib });
      await writeFile(scene.disk.path, 'by another', { flag: 'r+' });
      const armed = await arming;
      await scene.capture(armed);
      expect(factsOf(armed).tracker).toBe('compared');
    });
  });

  test('in the bulk copy ends it at once where nothing may be compared instead', async () => {
    await withPrecopyScene('traced', {}, async (scene) => {
      const { arming } = await inBulk(scene, { ...mayCompare(scene, false), bytesPerSecond: 256 * 1024 });
      await writeFile(scene.disk.path, 'by another', { flag: 'r+' });
      expect(await failure('TrackingLost', arming)).toMatch(/wrote to a disk|opened a disk/);
      expect(await readdir(join(scene.dir, 'store'))).toEqual([]);
    });
  });

  test('in the pause lets the guest go, and the next pause compares', async () => {
    await withPrecopyScene('traced', {}, async (scene) => {
      const armed = await scene.arm(mayCompare(scene, true));
      await scene.writer.obey('pwrite', 5 * mib, 50_000);
      await armed.catchUp(idle);
      await scene.pause();
      await writeFile(scene.disk.path, 'by another', { flag: 'r+' });
      expect(await failure('TrackingLost', armed.run(idle))).toMatch(/./);
      expect(factsOf(armed)).toMatchObject({ tracker: 'compared', proof: 'failed' });
      scene.resume();
      await scene.writer.obey('pwrite', 9 * mib, 50_000);
      await scene.capture(armed);
      expect(factsOf(armed).comparedBytes).toBeGreaterThan(0);
    });
  });

  test('fails the capture for good where nothing may be compared instead', async () => {
    await withPrecopyScene('traced', {}, async (scene) => {
      const armed = await scene.arm(mayCompare(scene, false));
      await writeFile(scene.disk.path, 'by another', { flag: 'r+' });
      expect(await failure('TrackingLost', armed.catchUp(idle))).toMatch(/./);
      expect(await failure('TrackingLost', armed.catchUp(idle))).toMatch(/./);
      expect(await failure('TrackingLost', armed.run(idle))).toMatch(/./);
    });
  });
});

describe('a comparison', () => {
  test('is refused while somebody has the disk mapped: what he stores would show nowhere', async () => {
    await withPrecopyScene('compared', {}, async (scene) => {
      const armed = await scene.arm();
      await armed.catchUp(idle);
      await scene.writer.obey('mmap');
      expect(await failure('SourceChanged', armed.catchUp(idle))).toMatch(/mapped into its memory/);
    });
  });
});
