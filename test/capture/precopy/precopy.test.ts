import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { allocatedBytes, withOpen } from '../../image/make-image.js';
import { canLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { tryTool } from '../../support/run-tool.js';
import { waitFor } from '../../support/wait-for.js';
import { captureAllShapes, expectCaptured } from '../all-shapes.js';
import { captureChild } from '../traced.js';
import { endFakeGuest } from '../armed.js';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { factsOf, idle, type Tracker, withPrecopyScene } from './precopy-scene.js';

afterAll(endFakeGuest);

const trackers: Tracker[] = (await whyNoTracing()) === null ? ['traced', 'compared'] : ['compared'];
const mib = 1024 ** 2;
/** More than any test waits for. */
const endless = 2_000_000_000;
const canMount = canLoopMount('ext4') && canLoopMount('xfs');

describe('a precopy while the guest writes and discards at full speed', () => {
  // Whose thread it is, and whether it rests, is the tracer's affair alone.
  test.each([
    ['traced', 'process', 0, false],
    ['traced', 'thread', 20, canMount],
    ['compared', 'process', 0, canMount],
  ] as const)(
    'is the disk as it was in the pause: %s, a %s that rests every %i writes, to another filesystem: %s',
    async (tracker, kind, pauseEvery, isXfs) => {
      if (!trackers.includes(tracker)) return;
      const precopy = (store?: string) =>
        withPrecopyScene(tracker, { kind, sizeBytes: 16 * mib, store }, async (scene) => {
          scene.writer.obey('storm', endless, pauseEvery).catch(() => {});
          const armed = await scene.arm();
          const before = scene.written();
          await waitFor('some writes', () => scene.written() > before + 2 * mib);
          await scene.capture(armed);
          const proof = tracker === 'traced' ? 'held' : null;
          expect(factsOf(armed)).toMatchObject({ tracker, trackerProblem: null, proof });
          const { precopiedBytes, accountedBytes } = factsOf(armed);
          expect(precopiedBytes).toBeGreaterThanOrEqual(8 * mib);
          if (tracker === 'traced') expect(accountedBytes).toBeGreaterThan(mib);
        });
      await (isXfs ? withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, precopy) : precopy());
    },
  );

  test.runIf(trackers.includes('traced'))(
    'and so faster than we copy, is told with both rates after few rounds, and captured all the same (fault 27)',
    () =>
      withPrecopyScene(
        'traced',
        { sizeBytes: 4 * mib, pieces: [{ offset: 0, length: 4 * mib }] },
        async (scene) => {
          scene.writer.obey('storm', endless, 0).catch(() => {});
          const armed = await scene.arm({ bytesPerSecond: 8 * mib, pauseTargetMs: 0.2 });
          const { converged, rounds, guestBytesPerSecond, copyBytesPerSecond } = factsOf(armed);
          expect(converged).toBe(false);
          expect(rounds).toBeLessThanOrEqual(3);
          expect(guestBytesPerSecond).toBeGreaterThan(copyBytesPerSecond ?? Number.NaN);
          await scene.capture(armed);
          expect(factsOf(armed).converged).toBe(false);
        },
      ),
  );
});

describe.each(trackers)('a precopy, %s, while the disk is in use', (tracker) => {
  test('copies what is written between pauses, makes the holes that the guest makes, and stamps what it captured', () =>
    withPrecopyScene(tracker, {}, async (scene) => {
      const { disk, writer } = scene;
      const armed = await scene.arm();
      const before = await allocatedBytes(disk.targetPath);
      // The first captured nothing.
      await writer.obey('pwrite', 5 * mib, 50_000);
      await armed.catchUp(idle);
      await scene.pause();
      scene.resume();
      await writer.obey('pwrite', 1 * mib, 50_000);
      await writer.obey('punch', 2 * mib, 2 * mib);
      await writer.obey('zero', 4 * mib + 1, 12_345);
      const captured = await scene.capture(armed);
      expect(await allocatedBytes(disk.targetPath)).toBeLessThanOrEqual(before - 2 * mib + 65_536);
      await expectCaptured(disk, captured.get('ubd0'));
    }));

  test('begins no other slow round when its time is over, for a guest may be frozen, and misses nothing of the rest', () =>
    withPrecopyScene(tracker, { pieces: [{ offset: 0, length: mib }] }, async (scene) => {
      const armed = await scene.arm({ bytesPerSecond: 4 * mib });
      const { rounds } = factsOf(armed);
      await scene.writer.obey('pwrite', 2 * mib, 24 * mib);
      await scene.pause();
      await armed.run(idle, 1);
      expect(factsOf(armed).rounds).toBe(tracker === 'traced' ? rounds + 1 : rounds);
      await scene.expectSame();
      scene.resume();
    }));

  test('of several disks of any shape gives each byte for byte and hole for hole', () =>
    withPrecopyScene(tracker, {}, async (scene) => {
      await captureAllShapes(scene.dir, join(scene.dir, 'store'), async (disks) => {
        const captured = await scene.capture(await scene.arm({ disks: [scene.disk, ...disks] }));
        expect(captured.size).toBe(disks.length + 1);
        return captured;
      });
    }));

  test('copies no holes of a disk of terabytes, stays small, behind the guest, and within its limit', async () => {
    const sizeBytes = 4 * 1024 ** 4;
    const pieces = [0, sizeBytes / 2, sizeBytes - 4 * mib].map((offset) => ({ offset, length: 4 * mib }));
    await withPrecopyScene(tracker, { sizeBytes, pieces }, async (scene) => {
      const { sourcePath, targetPath } = scene.disk;
      const limit = 8 * mib;
      const startedMs = performance.now();
      const { arming } = await scene.inBulk({ bytesPerSecond: limit });
      process.kill(captureChild(), 'SIGSTOP');
      const threads = readdirSync(`/proc/${captureChild()}/task`).map(Number);
      const behind = threads.filter((tid) => getPriority(tid) === 10);
      const { output } = await tryTool('ionice', ['-p', behind.join()]);
      process.kill(captureChild(), 'SIGCONT');
      expect([behind.length, output.trim()]).toEqual([1, 'idle']);
      const armed = await arming;
      const elapsedMs = performance.now() - startedMs;
      // After a time without work some goes at once.
      expect((factsOf(armed).precopiedBytes * 1000) / elapsedMs).toBeLessThan(limit * 1.2);
      await scene.writer.obey('pwrite', sizeBytes - 5000, 5000);
      await armed.catchUp(idle);
      await scene.pause();
      await armed.run(idle);
      expect(scene.toldTotals).toEqual(new Set([12 * mib]));
      expect(await allocatedBytes(targetPath)).toBeLessThanOrEqual(12 * mib + 65_536);
      const status = readFileSync(`/proc/${captureChild()}/status`, 'latin1');
      expect(Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1])).toBeLessThan(128 * 1024);
      for (const { offset, length } of pieces) {
        const read = (path: string) =>
          withOpen(path, 'r', (file) => file.read(Buffer.alloc(length), 0, length, offset));
        const [source, target] = [await read(sourcePath), await read(targetPath)];
        expect(target.buffer.equals(source.buffer)).toBe(true);
      }
    });
  });
});
