import { mkdir, statfs } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CaptureDisk } from '../../src/capture/capture.js';
import { makeImage, withOpen } from '../image/make-image.js';
import { canLoopMount, type LoopFilesystem, mountLoopFilesystem } from '../support/loop-filesystem.js';
import { captureAllShapes } from './all-shapes.js';
import { armCopy, armReflink, endFakeGuest, idle } from './armed.js';
import { captureChildrenOf } from './traced.js';

async function capture(arm: typeof armCopy, disks: CaptureDisk[]) {
  const armed = await arm('debian', disks);
  const captured = await armed.run(idle).finally(() => armed.dispose());
  expect(captureChildrenOf(process.pid)).toEqual([]);
  return captured;
}

const skip = !(canLoopMount('ext4') && canLoopMount('xfs'));
describe.skipIf(skip)(`a capture${skip ? ' (skipped: needs root, loop devices and mkfs.xfs)' : ''}`, () => {
  let ext4: LoopFilesystem;
  let xfs: LoopFilesystem;
  beforeAll(async () => {
    ext4 = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 300 });
    xfs = await mountLoopFilesystem({ type: 'xfs', sizeMiB: 300 });
  });
  afterAll(async () => {
    await ext4?.remove();
    await xfs?.remove();
    await endFakeGuest();
  });

  test.each([
    ['reflink within xfs', armReflink, () => xfs],
    ['copy from ext4 to xfs', armCopy, () => ext4],
  ])('by %s gives each of several disks byte for byte and hole for hole', async (way, arm, from) => {
    const to = `${xfs.mountPoint}/${way}`;
    await mkdir(to);
    await captureAllShapes(from().mountPoint, to, (disks) => capture(arm, disks));
  });

  test('by copy shares no blocks with the disk, even where it could', async () => {
    const sourcePath = `${xfs.mountPoint}/unshared`;
    const targetPath = `${sourcePath}.img`;
    const sizeBytes = 8 * 1024 ** 2;
    await makeImage(sourcePath, sizeBytes, [{ offset: 0, length: sizeBytes }]);
    await withOpen(sourcePath, 'r+', async (disk) => {
      await disk.sync();
      const before = await statfs(xfs.mountPoint);
      await capture(armCopy, [{ device: 'ubd0', sourceFd: disk.fd, sizeBytes, targetPath }]);
      const after = await statfs(xfs.mountPoint);
      expect((before.bfree - after.bfree) * after.bsize).toBeGreaterThanOrEqual(sizeBytes);
    });
  });
});
