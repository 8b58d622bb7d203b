import { constants, fstat } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';

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
 * file with one name, of a size that a number can hold; a symlink is not followed and a FIFO not waited for.
 * @throws DiskUnusable
 */
export async function openDisk(guest: string, device: string, path: string): Promise<OpenDisk> {
  const refuse = (problem: string, cause?: unknown) =>
    new UmlsnapError('DiskUnusable', { guest, device, path, problem }, cause);
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(path, flags).catch((error: unknown) => {
    throw refuse(openProblem(error), error);
  });
  try {
    const stat = await handle.stat({ bigint: true });
    const problem = statProblem(stat);
    if (problem !== null) throw refuse(problem);
    return { device, path, handle, stamp: toStamp(stat), ownerUid: Number(stat.uid) };
  } catch (error) {
    await handle.close();
    throw error;
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

function statProblem(stat: { isFile(): boolean; nlink: bigint; size: bigint }): string | null {
  if (!stat.isFile()) return 'it is not a regular file';
  if (stat.nlink !== 1n) return `the file has ${stat.nlink} names (hard links), not one`;
  if (stat.size > BigInt(Number.MAX_SAFE_INTEGER)) return `a size of ${stat.size} bytes is not believable`;
  return null;
}

function openProblem(error: unknown): string {
  const errno = errnoOf(error);
  if (errno === 'ELOOP') return 'it is a symbolic link';
  if (errno === 'ENXIO') return 'it is not a regular file';
  if (errno === 'ENOENT') return 'it does not exist';
  return problemOf(error);
}
