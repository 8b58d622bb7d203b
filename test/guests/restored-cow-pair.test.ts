import { copyFile, mkdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { armCopy } from '../../src/capture/arm-capture.js';
import { openDisk } from '../../src/image/open-disk.js';
import type { RestoredDisk, RestoreSource } from '../../src/restore/restore-source.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { allocatedBytes, sha256sum } from '../image/make-image.js';
import { sourceOf } from '../restore/stored-snapshot.js';
import type { GuestDisk } from '../support/guest-disks.js';
import { bootGuest, withGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

const signal = new AbortController().signal;

let dir: string;
beforeAll(async () => {
  dir = await makeTempDir();
});
afterAll(() => removeTempDir(dir));

/** A COW guest that wrote something and was halted; its pair in a store, its own files gone from where they were. */
async function storedPair(): Promise<RestoreSource> {
  const guest = await bootGuest({ dir, cow: true, writer: 'none' });
  await guest.sh('echo "written before" > /data/proof; sync');
  await guest.halt();
  const [disk] = guest.disks;
  const store = join(dir, 'store');
  await mkdir(join(store, 'backing'), { recursive: true });
  const base = disk?.backing ?? '';
  const { mtime, size } = await stat(base);
  await copyFile(base, join(store, 'backing', 'base.img'));
  const cow = await captureCow(disk?.path ?? '', join(store, 'ubd0.cow'));
  const sha256 = await sha256sum(base);
  // UML would go back to where the header says that it lies.
  await rm(base);
  const backing = { sourcePath: base, file: 'base.img', sizeBytes: size, mtime: mtime.toISOString() };
  return sourceOf(store, [{ ...cow, backing: { ...backing, sha256 } }]);
}

async function captureCow(path: string, targetPath: string) {
  const disk = await openDisk('debian', 'ubd0', path);
  const { sizeBytes } = disk.stamp;
  const sourceFd = disk.handle.fd;
  const capture = await armCopy('debian', [
    { device: 'ubd0', sourceFd, sourcePath: path, sizeBytes, targetPath },
  ]);
  await capture.run(signal);
  await capture.dispose();
  await disk.handle.close();
  return {
    device: 'ubd0',
    kind: 'cow' as const,
    sourcePath: path,
    file: 'ubd0.cow',
    sizeBytes,
    storedBytes: await allocatedBytes(targetPath),
    mtime: new Date().toISOString(),
    sha256: await sha256sum(targetPath),
  };
}

function asGuestDisk(disk: RestoredDisk | undefined): GuestDisk {
  return { device: 'ubd0', path: disk?.path ?? '', backing: disk?.backing?.path ?? '' };
}

describe('a COW pair that was restored elsewhere', () => {
  test('is accepted by UML with all that was written, by virtue of the mtime that the restore kept', async () => {
    const source = await storedPair();
    const [first] = await restoreToDirectory(source, join(dir, 'one'), { signal });
    await withGuest({ dir, existingDisks: [asGuestDisk(first)], writer: 'none' }, async (guest) => {
      expect(await guest.sh('cat /data/proof')).toBe('written before');
    });

    const [second] = await restoreToDirectory(source, join(dir, 'two'), { signal });
    await utimes(second?.backing?.path ?? '', 1_000_000, 1_000_000);
    const refused = withGuest(
      { dir, existingDisks: [asGuestDisk(second)], bootLimitMs: 20_000 },
      async () => {},
    );
    await expect(refused).rejects.toThrow(/did not boot/);
  });
});
