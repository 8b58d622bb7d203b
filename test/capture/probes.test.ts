import { chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { measureCopyRate } from '../../src/capture/measure-copy-rate.js';
import { probeReflink } from '../../src/capture/probe-reflink.js';
import { makeImage, withOpen } from '../image/make-image.js';
import { canLoopMount, mountLoopFilesystem } from '../support/loop-filesystem.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
beforeAll(async () => {
  dir = await makeTempDir();
});
afterAll(() => removeTempDir(dir));

describe.skipIf(!canLoopMount('xfs') || !canLoopMount('ext4'))('the probe for reflinks', () => {
  test('says yes on xfs and why not elsewhere, and leaves nothing in the store', async () => {
    const xfs = await mountLoopFilesystem({ type: 'xfs', sizeMiB: 300 });
    const ext4 = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 8 });
    try {
      for (const [name, size] of [
        ['large', 100_000],
        ['small', 17],
        ['empty', 0],
      ] as const) {
        const onXfs = join(xfs.mountPoint, name);
        const onExt4 = join(ext4.mountPoint, name);
        for (const path of [onXfs, onExt4])
          await makeImage(path, size, size ? [{ offset: 0, length: size }] : []);
        await withOpen(onXfs, 'r', async ({ fd }) => {
          expect(await probeReflink(fd, xfs.mountPoint)).toEqual({ works: true });
          expect(await probeReflink(fd, ext4.mountPoint)).toEqual({
            works: false,
            reason: 'store and disk lie on different file systems',
          });
        });
        await withOpen(onExt4, 'r', async ({ fd }) =>
          expect(await probeReflink(fd, ext4.mountPoint)).toEqual({
            works: false,
            reason: 'ext4 has no reflinks',
          }),
        );
      }
      expect(await readdir(xfs.mountPoint)).toEqual(['empty', 'large', 'small']);
    } finally {
      await xfs.remove();
      await ext4.remove();
    }
  });
});

test('a store that is not there is a reason, not a crash', async () => {
  const path = join(dir, 'any');
  await makeImage(path, 4096);
  await withOpen(path, 'r', async ({ fd }) =>
    expect(await probeReflink(fd, join(dir, 'nowhere'))).toMatchObject({ works: false, reason: /ENOENT/ }),
  );
});

describe('the measured speed of a copy', () => {
  test('comes from the data alone, wherever it lies, and leaves nothing behind', async () => {
    const path = join(dir, 'sparse');
    await makeImage(path, 2 ** 35, [{ offset: 2 ** 34, length: 9_000_000 }]);
    await chmod(path, 0o600);
    await withOpen(path, 'r', async ({ fd }) => {
      const before = await readdir(dir);
      expect((await measureCopyRate(fd, dir))?.bytesPerSecond).toBeGreaterThan(0);
      expect(await readdir(dir)).toEqual(before);
    });
  });

  test('is not made up for a disk without data', async () => {
    const path = join(dir, 'hole');
    await makeImage(path, 2 ** 30);
    await withOpen(path, 'r', async ({ fd }) => expect(await measureCopyRate(fd, dir)).toBeNull());
  });
});
