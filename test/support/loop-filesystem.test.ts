import { constants, readFileSync } from 'node:fs';
import { copyFile, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type FilesystemType, whyNoLoopMount, withLoopFilesystem } from './loop-filesystem.js';
import { runTool } from './run-tool.js';

const mounts = () => readFileSync('/proc/self/mounts', 'utf8');

function testOn(type: FilesystemType, title: string, run: () => Promise<void>): void {
  const reason = whyNoLoopMount(type);
  test(reason ? `${title} (skipped: ${reason})` : title, { skip: reason !== undefined }, run);
}

describe('a loop filesystem', () => {
  testOn('xfs', 'on XFS has reflinks, and is gone with its loop device afterwards', async () => {
    let image = '';
    const where = await withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, async (mountPoint, filesystem) => {
      image = filesystem.image;
      await writeFile(join(mountPoint, 'a'), 'shared');
      await copyFile(join(mountPoint, 'a'), join(mountPoint, 'b'), constants.COPYFILE_FICLONE_FORCE);
      expect(mounts()).toContain(mountPoint);
      return mountPoint;
    });
    expect(mounts()).not.toContain(where);
    expect((await runTool('losetup', ['-a'])).toString()).not.toContain(image);
  });

  testOn(
    'ext4',
    'on ext4 runs out of inodes where it was given few, and is removed though a file is open',
    async () => {
      const where = await withLoopFilesystem(
        { type: 'ext4', sizeMiB: 16, inodes: 16 },
        async (mountPoint) => {
          const file = await open(join(mountPoint, 'open'), 'w');
          const many = Array.from({ length: 16 }, (_, n) => writeFile(join(mountPoint, `f${n}`), ''));
          const refused = (await Promise.allSettled(many)).filter(({ status }) => status === 'rejected');
          expect(refused.length).toBeGreaterThan(0);
          setTimeout(() => void file.close(), 200);
          return mountPoint;
        },
      );
      expect(mounts()).not.toContain(where);
    },
  );
});
