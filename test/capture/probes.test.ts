import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { measureCopyRate } from '../../src/capture/measure-copy-rate.js';
import { probeReflink } from '../../src/capture/probe-reflink.js';
import { makeImage, withOpen } from '../image/make-image.js';
import { canLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { withTempDir } from '../support/temp-dir.js';

describe('the probe for reflinks', () => {
  test.skipIf(!canLoopMount('xfs') || !canLoopMount('ext4'))(
    'says yes on xfs and why not elsewhere, also of an empty disk, and leaves nothing in the store',
    () =>
      withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, (xfs) =>
        withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (ext4) => {
          for (const sizeBytes of [100_000, 17, 0]) {
            const name = `disk-of-${sizeBytes}`;
            const probe = (from: string, store: string) =>
              withOpen(join(from, name), 'r', ({ fd }) => probeReflink(fd, store));
            for (const place of [xfs, ext4])
              await makeImage(join(place, name), sizeBytes, [{ offset: 0, length: sizeBytes }]);
            expect(await probe(xfs, xfs)).toEqual({ works: true });
            const reason = 'store and disk lie on different file systems';
            expect(await probe(xfs, ext4)).toEqual({ works: false, reason });
            expect(await probe(ext4, ext4)).toEqual({ works: false, reason: 'ext4 has no reflinks' });
          }
          expect(await readdir(xfs)).toEqual(['disk-of-0', 'disk-of-100000', 'disk-of-17']);
        }),
      ),
  );

  test('takes a store that is not there for a reason, and does not crash', () =>
    withTempDir(async (dir) => {
      await makeImage(join(dir, 'any'), 4096);
      const probing = withOpen(join(dir, 'any'), 'r', ({ fd }) => probeReflink(fd, join(dir, 'nowhere')));
      expect(await probing).toMatchObject({ works: false, reason: expect.stringContaining('no such file') });
    }));
});

test('the measured speed of a copy comes from the data alone, wherever it lies, and is not made up where there is none', () =>
  withTempDir(async (dir) => {
    const rateOf = (name: string) => withOpen(join(dir, name), 'r', ({ fd }) => measureCopyRate(fd, dir));
    await makeImage(join(dir, 'sparse'), 2 ** 35, [{ offset: 2 ** 34, length: 9_000_000 }]);
    await makeImage(join(dir, 'hole'), 2 ** 30);
    expect((await rateOf('sparse'))?.bytesPerSecond).toBeGreaterThan(0);
    expect(await rateOf('hole')).toBeNull();
    // Nothing is left of it.
    expect(await readdir(dir)).toEqual(['hole', 'sparse']);
  }));
