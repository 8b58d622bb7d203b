import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { problemOf, UmlsnapError } from '../errors.js';
import type { CaptureDisk } from './capture.js';
import { describeFailure } from './capture-trouble.js';

/**
 * Makes the files that the disks are captured into, and arms the capture with them.
 * @throws CaptureFailed, what `arm` throws of our own errors, or the signal's reason; then no target is left, where the store lets it go
 */
export async function withTargets<T>(
  guest: string,
  disks: CaptureDisk[],
  arm: (targets: FileHandle[]) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const targets: FileHandle[] = [];
  try {
    for (const disk of disks) targets.push(await createTarget(guest, disk));
    return await arm(targets);
  } catch (error) {
    // What went wrong first is what is told: a store that fails may not let go of a file, and the incoming copy is thrown away whole.
    await Promise.allSettled(targets.map((target) => target.close()));
    await Promise.allSettled(disks.slice(0, targets.length).map((disk) => unlink(disk.targetPath)));
    if (error instanceof UmlsnapError || error === signal?.reason) throw error;
    const device = disks.map((disk) => disk.device).join(', ');
    throw new UmlsnapError('CaptureFailed', { guest, device, problem: problemOf(error) }, error);
  }
}

async function createTarget(guest: string, { device, targetPath }: CaptureDisk): Promise<FileHandle> {
  try {
    return await open(targetPath, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    const problem = describeFailure({ message, code, syscall: 'write' });
    throw new UmlsnapError('CaptureFailed', { guest, device, problem }, error);
  }
}
