import { constants, fstat } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { isPathError, PathRefused, withDirectoryOf } from '../path/held-directory.js';

/** What changes when a file is replaced, resized or written to. */
export interface Stamp {
  dev: bigint;
  ino: bigint;
  sizeBytes: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
}

export interface OpenDisk {
  readonly device: string;
  readonly path: string;
  /** Open for reading. The one who opened the disk closes it. */
  readonly handle: FileHandle;
  /** As it was when the disk was opened. */
  readonly stamp: Stamp;
  readonly ownerUid: number;
}

const fstatAsync = promisify(fstat);

/**
 * Opens a guest's disk for reading (design §10: the guest's side may have put anything in its place). It must be a regular
 * file with one name, of a size that a number can hold. No symbolic link is followed on the way to it, and nobody may own a part of the
 * way but root, ourselves and the disk's owner.
 * @throws DiskUnusable
 */
export async function openDisk(guest: string, device: string, path: string): Promise<OpenDisk> {
  try {
    return await withDirectoryOf(path, async (directory, name) => {
      const handle = await directory.openFile(name, constants.O_RDONLY);
      try {
        const stat = await handle.stat({ bigint: true });
        const problem = statProblem(stat);
        if (problem !== null) throw new PathRefused(problem);
        const ownerUid = Number(stat.uid);
        directory.requireTrusted(ownerUid);
        return { device, path, handle, stamp: toStamp(stat), ownerUid };
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  } catch (error) {
    if (!isPathError(error)) throw error;
    const problem = errnoOf(error) === 'ENOENT' ? 'it does not exist' : problemOf(error);
    throw new UmlsnapError('DiskUnusable', { guest, device, path, problem }, error);
  }
}

/** The stamp of an open file. */
export async function stampOf(fd: number): Promise<Stamp> {
  return toStamp(await fstatAsync(fd, { bigint: true }));
}

/** What tells the two stamps of one disk apart, for people; null when nothing does. */
export function describeChange(before: Stamp, after: Stamp): string | null {
  if (before.dev !== after.dev || before.ino !== after.ino) return 'it was replaced by another file';
  if (before.sizeBytes !== after.sizeBytes) {
    return `its size went from ${before.sizeBytes} to ${after.sizeBytes} bytes`;
  }
  if (before.mtimeNs !== after.mtimeNs) return 'it was written to';
  return before.ctimeNs === after.ctimeNs ? null : 'its inode was changed';
}

/** What a stat with bigints has of it. */
export function toStamp(stat: BigStat): Stamp {
  const { dev, ino, mtimeNs, ctimeNs } = stat;
  return { dev, ino, sizeBytes: Number(stat.size), mtimeNs, ctimeNs };
}

interface BigStat {
  dev: bigint;
  ino: bigint;
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}

function statProblem(stat: { nlink: bigint; size: bigint }): string | null {
  if (stat.nlink !== 1n) return `the file has ${stat.nlink} names (hard links), not one`;
  if (stat.size > BigInt(Number.MAX_SAFE_INTEGER)) return `a size of ${stat.size} bytes is not believable`;
  return null;
}
