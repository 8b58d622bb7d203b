import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { armPrecopy } from '../../../src/capture/precopy/arm-precopy.js';
import { openDisk, stampOf } from '../../../src/image/open-disk.js';
import { allocatedBytes, imageShapes, makeImage, withOpen } from '../../image/make-image.js';
import { canLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { tryTool } from '../../support/run-tool.js';
import { waitFor } from '../../support/wait-for.js';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { childMemoryBytes, childThreads } from './look-around.js';
import { expectSame, factsOf, type Tracker, withPrecopyScene } from './precopy-scene.js';

const untraceable = await whyNoTracing();
const trackers: Tracker[] = untraceable === null ? ['traced', 'compared'] : ['compared'];
const mib = 1024 ** 2;
const idle = new AbortController().signal;
/** More than any test waits for. */
const endless = 2_000_000_000;
const canMount = canLoopMount('ext4') && canLoopMount('xfs');

const inStore = (isXfs: boolean, use: (store?: string) => Promise<void>): Promise<void> =>
  isXfs ? withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, use) : use();

describe('a precopy while the guest writes and discards at full speed', () => {
  // Whose thread it is, and whether it rests, is the tracer's affair alone.
  test.each([
    ['traced', 'process', 0, false],
    ['traced', 'thread', 20, canMount],
    ['compared', 'process', 0, canMount],
  ] as const)(
    'is the disk as it was in the pause: %s, a %s that rests every %i writes, to another filesystem: %s',
    { timeout: 180_000 },
    async (tracker, kind, pauseEvery, isXfs) => {
      if (!trackers.includes(tracker)) return;
      await inStore(isXfs, (store) =>
        withPrecopyScene(tracker, { kind, sizeBytes: 16 * mib, ...(store && { store }) }, async (scene) => {
          scene.writer.obey('storm', endless, pauseEvery).catch(() => {});
          const armed = await scene.arm();
          const captured = await scene.capture(armed);
          expect(captured.get('ubd0')?.source.sizeBytes).toBe(scene.disk.stamp.sizeBytes);
          const proof = tracker === 'traced' ? 'held' : null;
          expect(factsOf(armed)).toMatchObject({ tracker, trackerProblem: null, proof });
          expect(factsOf(armed).precopiedBytes).toBeGreaterThanOrEqual(scene.dataBytes);
        }),
      );
    },
  );

  test.runIf(untraceable === null)(
    'and so faster than we copy, is told with both rates after few rounds, and captured all the same (fault 27)',
    () =>
      withPrecopyScene(
        'traced',
        { sizeBytes: 4 * mib, pieces: [{ offset: 0, length: 4 * mib }] },
        async (scene) => {
          scene.writer.obey('storm', endless, 0).catch(() => {});
          const armed = await scene.arm({ bytesPerSecond: 8 * mib, pauseTargetMs: 0.2 });
          const facts = factsOf(armed);
          expect(facts.converged).toBe(false);
          expect(facts.rounds).toBeLessThanOrEqual(3);
          expect(facts.guestBytesPerSecond).toBeGreaterThan(facts.copyBytesPerSecond ?? Number.NaN);
          await scene.capture(armed);
          expect(factsOf(armed).converged).toBe(false);
        },
      ),
  );
});

describe.each(trackers)('a precopy, %s, while the disk is in use', (tracker) => {
  test('copies what is written between pauses, makes the holes that the guest makes, and stamps what it captured', () =>
    withPrecopyScene(tracker, {}, async (scene) => {
      const armed = await scene.arm();
      const before = await allocatedBytes(scene.targetPath);
      // The first captured nothing.
      await scene.writer.obey('pwrite', 5 * mib, 50_000);
      await armed.catchUp(idle);
      await scene.pause();
      scene.resume();
      await scene.writer.obey('pwrite', 1 * mib, 50_000);
      await scene.writer.obey('punch', 2 * mib, 2 * mib);
      await scene.writer.obey('zero', 4 * mib + 1, 12_345);
      const captured = await scene.capture(armed);
      expect(await allocatedBytes(scene.targetPath)).toBeLessThanOrEqual(before - 2 * mib + 65_536);
      const target = await withOpen(scene.targetPath, 'r', ({ fd }) => stampOf(fd));
      expect(captured.get('ubd0')).toEqual({ source: await stampOf(scene.disk.handle.fd), target });
      expect((await stat(scene.targetPath)).mode & 0o777).toBe(0o600);
    }));

  test('begins no other slow round when its time is over, for a guest may be frozen, and misses nothing of the rest', () =>
    withPrecopyScene(tracker, { pieces: [{ offset: 0, length: mib }] }, async (scene) => {
      const armed = await scene.arm({ bytesPerSecond: 4 * mib });
      const { rounds } = factsOf(armed);
      await scene.writer.obey('pwrite', 2 * mib, 24 * mib);
      await armed.catchUp(idle, 1);
      expect(factsOf(armed).rounds).toBe(tracker === 'traced' ? rounds + 1 : rounds);
      await scene.pause();
      await armed.run(idle);
      await expectSame(scene.disk.path, scene.targetPath);
      scene.resume();
    }));

  test('of several disks of any shape gives each byte for byte', () =>
    withPrecopyScene(tracker, {}, async (scene) => {
      const order = scene.order();
      const opened = [];
      for (const [index, { sizeBytes, pieces }] of imageShapes.entries()) {
        const device = `ubd${index + 1}`;
        const path = join(scene.dir, device);
        await makeImage(path, sizeBytes, pieces);
        const { handle } = await openDisk('debian', device, path);
        opened.push(handle);
        const targetPath = join(scene.dir, 'store', device);
        order.disks.push({ device, sourceFd: handle.fd, sourcePath: path, sizeBytes, targetPath });
      }
      const armed = await armPrecopy(order);
      try {
        expect((await scene.capture(armed)).size).toBe(imageShapes.length + 1);
        for (const disk of order.disks) {
          await expectSame(disk.sourcePath, disk.targetPath);
          const allocated = await allocatedBytes(disk.sourcePath);
          expect(await allocatedBytes(disk.targetPath)).toBeLessThanOrEqual(allocated + 65_536);
        }
      } finally {
        await armed.dispose();
        for (const handle of opened) await handle.close();
      }
    }));

  test('copies no holes of a disk of terabytes, stays small, behind the guest, and within its limit', async () => {
    const sizeBytes = 4 * 1024 ** 4;
    const pieces = [0, sizeBytes / 2, sizeBytes - 4 * mib].map((offset) => ({ offset, length: 4 * mib }));
    await withPrecopyScene(tracker, { sizeBytes, pieces }, async (scene) => {
      const told: number[] = [];
      let hasBegun = false;
      const limit = 8 * mib;
      const startedMs = performance.now();
      const arming = scene.arm({
        bytesPerSecond: limit,
        onProgress: ({ doneBytes, totalBytes }) => {
          told.push(totalBytes);
          hasBegun ||= doneBytes > 0;
        },
      });
      await waitFor('the bulk copy to begin', () => hasBegun);
      const behind = childThreads().filter(({ nice }) => nice === 10);
      expect(behind).toHaveLength(1);
      expect((await tryTool('ionice', ['-p', String(behind[0]?.tid)])).output.trim()).toBe('idle');
      const armed = await arming;
      const elapsedMs = performance.now() - startedMs;
      // After a time without work some goes at once.
      expect((factsOf(armed).precopiedBytes * 1000) / elapsedMs).toBeLessThan(limit * 1.2);
      await scene.writer.obey('pwrite', sizeBytes - 5000, 5000);
      await armed.catchUp(idle);
      await scene.pause();
      await armed.run(idle);
      expect(new Set(told)).toEqual(new Set([12 * mib]));
      expect(await allocatedBytes(scene.targetPath)).toBeLessThanOrEqual(12 * mib + 65_536);
      expect(childMemoryBytes()).toBeLessThan(128 * mib);
      for (const { offset, length } of pieces) {
        const ofBoth = [scene.disk.path, scene.targetPath].map((path) =>
          withOpen(
            path,
            'r',
            async (file) => (await file.read(Buffer.alloc(length), 0, length, offset)).buffer,
          ),
        );
        const [wanted, there] = await Promise.all(ofBoth);
        expect(wanted && there?.equals(wanted)).toBe(true);
      }
    });
  });
});
