import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { CapturedDisk } from '../../src/capture/capture.js';
import { openDisk, stampOf } from '../../src/image/open-disk.js';
import { allocatedBytes, imageShapes, makeImage, withOpen } from '../image/make-image.js';
import { tryTool } from '../support/run-tool.js';
import type { NamedDisk } from './armed.js';

/** Has a disk of every shape captured at once, from one directory to another: each copy has to be its disk. */
export async function captureAllShapes(
  from: string,
  to: string,
  capture: (disks: NamedDisk[]) => Promise<Map<string, CapturedDisk>>,
): Promise<void> {
  const disks = await Promise.all(
    imageShapes.map(async ({ name, sizeBytes, pieces }, index) => {
      const device = `ubd${index + 1}`;
      const sourcePath = join(from, name);
      await makeImage(sourcePath, sizeBytes, pieces);
      const { handle } = await openDisk('debian', device, sourcePath);
      return { handle, device, sourceFd: handle.fd, sourcePath, sizeBytes, targetPath: join(to, device) };
    }),
  );
  try {
    const captured = await capture(disks);
    for (const disk of disks) await expectCaptured(disk, captured.get(disk.device));
  } finally {
    for (const { handle } of disks) await handle.close();
  }
}

/** The copy is the disk, byte for byte and hole for hole, is nobody else's, and was stamped as it is now. */
export async function expectCaptured(disk: NamedDisk, captured: CapturedDisk | undefined): Promise<void> {
  const { sourceFd, sourcePath, targetPath } = disk;
  expect((await tryTool('cmp', [sourcePath, targetPath])).output).toBe('');
  expect(await allocatedBytes(targetPath)).toBeLessThanOrEqual((await allocatedBytes(sourcePath)) + 65_536);
  expect((await stat(targetPath)).mode & 0o777).toBe(0o600);
  const target = await withOpen(targetPath, 'r', ({ fd }) => stampOf(fd));
  expect(captured).toEqual({ source: await stampOf(sourceFd), target });
}
