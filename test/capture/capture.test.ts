import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { armCopy, armReflink } from '../../src/capture/arm-capture.js';
import type { ArmedCapture, CaptureDisk } from '../../src/capture/capture.js';
import { type OpenDisk, openDisk, stampOf } from '../../src/image/open-disk.js';
import { allocatedBytes, imageShapes, makeImage, withOpen } from '../image/make-image.js';
import { canLoopMount, type LoopFilesystem, mountLoopFilesystem } from '../support/loop-filesystem.js';
import { tryTool } from '../support/run-tool.js';
import { captureChildrenOf } from './traced.js';

const signal = new AbortController().signal;

type Arm = (guest: string, disks: CaptureDisk[]) => Promise<ArmedCapture>;
const cases: { method: string; arm: Arm; from: 'ext4' | 'xfs'; to: 'ext4' | 'xfs' }[] = [
  { method: 'reflink', arm: armReflink, from: 'xfs', to: 'xfs' },
  { method: 'copy', arm: armCopy, from: 'ext4', to: 'xfs' },
];

const skip = !(canLoopMount('ext4') && canLoopMount('xfs'));
describe.skipIf(skip)(`a capture${skip ? ' (skipped: needs root, loop devices and mkfs.xfs)' : ''}`, () => {
  const filesystems = new Map<string, LoopFilesystem>();
  beforeAll(async () => {
    for (const type of ['ext4', 'xfs'] as const) {
      filesystems.set(type, await mountLoopFilesystem({ type, sizeMiB: 300 }));
    }
  });
  afterAll(async () => {
    for (const filesystem of filesystems.values()) await filesystem.remove();
  });
  const place = (type: string) => filesystems.get(type)?.mountPoint ?? '';

  for (const [index, { method, arm, from, to }] of cases.entries()) {
    test(`by ${method} from ${from} to ${to} gives each of several disks byte for byte and hole for hole`, async () => {
      const opened: OpenDisk[] = [];
      const disks: CaptureDisk[] = [];
      for (const [number, { sizeBytes, pieces }] of imageShapes.entries()) {
        const device = `ubd${number}`;
        const sourcePath = join(place(from), `${index}-${device}`);
        await makeImage(sourcePath, sizeBytes, pieces);
        const disk = await openDisk('debian', device, sourcePath);
        opened.push(disk);
        const targetPath = join(place(to), `${index}-${device}.img`);
        disks.push({ device, sourceFd: disk.handle.fd, sourcePath, sizeBytes, targetPath });
      }
      const capture = await arm('debian', disks);
      const captured = await capture.run(signal);
      await capture.dispose();
      expect(captureChildrenOf(process.pid)).toEqual([]);
      for (const [number, { device, sourcePath, targetPath, sourceFd }] of disks.entries()) {
        expect((await tryTool('cmp', [sourcePath, targetPath])).output).toBe('');
        expect(await allocatedBytes(targetPath)).toBeLessThanOrEqual(
          (await allocatedBytes(sourcePath)) + 65_536,
        );
        expect((await stat(targetPath)).mode & 0o777).toBe(0o600);
        expect(captured.get(device)?.source).toEqual(await stampOf(sourceFd));
        const target = await withOpen(targetPath, 'r', ({ fd }) => stampOf(fd));
        expect(captured.get(device)?.target).toEqual(target);
        await opened[number]?.handle.close();
      }
    });
  }

  test('by copy shares no blocks with the disk, even where it could', async () => {
    const sourcePath = join(place('xfs'), 'unshared');
    const sizeBytes = 8 * 1024 ** 2;
    await makeImage(sourcePath, sizeBytes, [{ offset: 0, length: sizeBytes }]);
    const disk = await openDisk('debian', 'ubd0', sourcePath);
    const targetPath = join(place('xfs'), 'unshared.img');
    await disk.handle.sync();
    const freeBefore = await freeBytes(place('xfs'));
    const capture = await armCopy('debian', [
      { device: 'ubd0', sourceFd: disk.handle.fd, sourcePath, sizeBytes, targetPath },
    ]);
    await capture.run(signal);
    await capture.dispose();
    await disk.handle.close();
    expect(freeBefore - (await freeBytes(place('xfs')))).toBeGreaterThanOrEqual(sizeBytes);
  });
});

async function freeBytes(path: string): Promise<number> {
  const { bfree, bsize } = await statfs(path);
  return bfree * bsize;
}
