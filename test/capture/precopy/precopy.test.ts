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
const mib = 1024 ** 2;
const idle = new AbortController().signal;
/** More than any test waits for. */
const endless = 2_000_000_000;

describe.each<Tracker>(['traced', 'compared'])('a precopy, %s', (tracker) => {
  const skip = tracker === 'traced' && untraceable !== null;
  describe.skipIf(skip)(`while the disk is in use${skip ? ` (skipped: ${untraceable})` : ''}`, () => {
    test.each([
      ['process', 0],
      ['process', 20],
      ['thread', 0],
      ['thread', 20],
    ] as const)(
      'is the disk as it was in the pause when a %s writes and discards at full speed (%i)',
      async (kind, pauseEvery) => {
        await withPrecopyScene(tracker, { kind }, async (scene) => {
          scene.writer.obey('storm', endless, pauseEvery).catch(() => {});
          const armed = await scene.arm();
          const captured = await scene.capture(armed);
          expect(captured.get('ubd0')?.source.sizeBytes).toBe(scene.disk.stamp.sizeBytes);
          expect(factsOf(armed)).toMatchObject({ tracker, trackerProblem: null });
          expect(factsOf(armed).proof).toBe(tracker === 'traced' ? 'held' : null);
          expect(factsOf(armed).precopiedBytes).toBeGreaterThanOrEqual(24 * mib);
        });
      },
    );

    test('gives the stamps of both files as they are after the capture', async () => {
      await withPrecopyScene(tracker, {}, async (scene) => {
        const armed = await scene.arm();
        await scene.writer.obey('pwrite', 12_345, 30_000);
        const captured = await scene.capture(armed);
        const target = await withOpen(scene.targetPath, 'r', ({ fd }) => stampOf(fd));
        expect(captured.get('ubd0')).toEqual({ source: await stampOf(scene.disk.handle.fd), target });
        expect((await stat(scene.targetPath)).mode & 0o777).toBe(0o600);
      });
    });

    test('makes holes in the copy of what the guest discards, and keeps those that there were', async () => {
      await withPrecopyScene(tracker, {}, async (scene) => {
        const armed = await scene.arm();
        const before = await allocatedBytes(scene.targetPath);
        await scene.writer.obey('punch', 4 * mib, 8 * mib);
        await scene.writer.obey('zero', 13 * mib + 1, 12_345);
        await scene.capture(armed);
        expect(await allocatedBytes(scene.targetPath)).toBeLessThanOrEqual(before - 8 * mib + 65_536);
      });
    });

    test('copies what is written between two pauses, when the first captured nothing', async () => {
      await withPrecopyScene(tracker, {}, async (scene) => {
        const armed = await scene.arm();
        for (const at of [1, 2, 3]) {
          await scene.writer.obey('pwrite', at * 5 * mib, 50_000);
          await armed.catchUp(idle);
          await scene.pause();
          scene.resume();
        }
        await scene.writer.obey('pwrite', 7 * mib, 50_000);
        await scene.capture(armed);
      });
    });

    test('begins no other slow round when its time is over, for a guest may be frozen, and misses nothing of the rest', async () => {
      await withPrecopyScene(tracker, { pieces: [{ offset: 0, length: mib }] }, async (scene) => {
        const armed = await scene.arm({ bytesPerSecond: 4 * mib });
        const { rounds } = factsOf(armed);
        await scene.writer.obey('pwrite', 2 * mib, 24 * mib);
        await armed.catchUp(idle, 1);
        expect(factsOf(armed).rounds).toBe(tracker === 'traced' ? rounds + 1 : rounds);
        await scene.pause();
        await armed.run(idle);
        await expectSame(scene.disk.path, scene.targetPath);
        scene.resume();
      });
    });

    test('of several disks of any shape gives each byte for byte', async () => {
      await withPrecopyScene(tracker, {}, async (scene) => {
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
      });
    });

    test('copies no holes of a disk of terabytes, and stays small', async () => {
      const sizeBytes = 4 * 1024 ** 4;
      const pieces = [0, sizeBytes / 2, sizeBytes - 16 * mib].map((offset) => ({ offset, length: 16 * mib }));
      await withPrecopyScene(tracker, { sizeBytes, pieces }, async (scene) => {
        const told: number[] = [];
        const armed = await scene.arm({
          bytesPerSecond: 64 * mib,
          onProgress: ({ totalBytes }) => told.push(totalBytes),
        });
        await scene.writer.obey('pwrite', sizeBytes - 5000, 5000);
        await armed.catchUp(idle);
        await scene.pause();
        await armed.run(idle);
        expect(new Set(told)).toEqual(new Set([48 * mib]));
        expect(await allocatedBytes(scene.targetPath)).toBeLessThanOrEqual(48 * mib + 65_536);
        expect(childMemoryBytes()).toBeLessThan(128 * mib);
        for (const { offset, length } of pieces) {
          await expectSameRange(scene.disk.path, scene.targetPath, offset, length);
        }
      });
    });

    test('stays behind the guest while it runs: for the processor, and for the disk', async () => {
      await withPrecopyScene(tracker, {}, async (scene) => {
        let didBegin = false;
        const onProgress = ({ doneBytes }: { doneBytes: number }) => {
          didBegin ||= doneBytes > 0;
        };
        const arming = scene.arm({ bytesPerSecond: 16 * mib, onProgress });
        await waitFor('the bulk copy to begin', () => didBegin);
        const behind = childThreads().filter(({ nice }) => nice === 10);
        expect(behind).toHaveLength(1);
        const { output } = await tryTool('ionice', ['-p', String(behind[0]?.tid)]);
        expect(output.trim()).toBe('idle');
        await scene.capture(await arming);
      });
    });

    test('copies no faster than the limit while the guest runs', async () => {
      await withPrecopyScene(tracker, {}, async (scene) => {
        const limit = 16 * mib;
        const startedMs = performance.now();
        const armed = await scene.arm({ bytesPerSecond: limit });
        const elapsedMs = performance.now() - startedMs;
        expect((factsOf(armed).precopiedBytes * 1000) / elapsedMs).toBeLessThan(limit * 1.2);
        await scene.capture(armed);
      });
    });
  });
});

async function expectSameRange(
  source: string,
  target: string,
  offset: number,
  length: number,
): Promise<void> {
  const [wanted, there] = await Promise.all(
    [source, target].map((path) =>
      withOpen(path, 'r', async (file) => (await file.read(Buffer.alloc(length), 0, length, offset)).buffer),
    ),
  );
  expect(wanted && there?.equals(wanted)).toBe(true);
}

describe.skipIf(untraceable !== null)('a guest that writes faster than we copy (fault 27)', () => {
  test('is told with both rates after a bounded number of rounds, and captured all the same', async () => {
    await withPrecopyScene('traced', { pieces: [{ offset: 0, length: 8 * mib }] }, async (scene) => {
      scene.writer.obey('storm', endless, 0).catch(() => {});
      const armed = await scene.arm({ bytesPerSecond: 8 * mib });
      const facts = factsOf(armed);
      expect(facts.converged).toBe(false);
      expect(facts.rounds).toBeLessThanOrEqual(3);
      expect(facts.guestBytesPerSecond).toBeGreaterThan(facts.copyBytesPerSecond ?? Number.NaN);
      await scene.capture(armed);
      expect(factsOf(armed).converged).toBe(false);
    });
  });
});

describe.skipIf(!(canLoopMount('ext4') && canLoopMount('xfs')))('between filesystems', () => {
  test.each<Tracker>(untraceable === null ? ['traced', 'compared'] : ['compared'])(
    'the copy is byte for byte the same, %s from ext4 to xfs',
    async (tracker) => {
      await withLoopFilesystem({ type: 'xfs', sizeMiB: 400 }, async (store) => {
        await withPrecopyScene(tracker, { store }, async (scene) => {
          scene.writer.obey('storm', endless, 20).catch(() => {});
          await scene.capture(await scene.arm());
        });
      });
    },
  );
});
