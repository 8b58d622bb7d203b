import { constants } from 'node:fs';
import { chmod, chown, lchown, link, lutimes, open, rename, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import type { ExtImage } from './ext-image.js';
import type { TreeItem } from './plan-tree.js';

export interface PlaceOrder {
  image: ExtImage;
  signal: AbortSignal;
}

/** So much is read out at a time: it lies in the box's directory before it has its place. */
const maxFilesAtOnce = 500;

/** The first part of each path is the name of what is brought back, which it gets at the very end. */
export function placeIn(root: string, name: Buffer): (item: TreeItem) => Buffer {
  const top = Buffer.from(join(root, 'top'));
  return ({ path }) => Buffer.concat([top, path.subarray(name.length)]);
}

/**
 * Reads the files out into `dumped`, which the box may write to, and puts them in their places.
 * @returns how many there are, and of those how many have lost a right
 */
export async function placeFiles(
  { image, signal }: PlaceOrder,
  files: TreeItem[],
  dumped: string,
  place: (item: TreeItem) => Buffer,
): Promise<{ placed: number; sizeBytes: number; rights: number }> {
  const done = { placed: 0, sizeBytes: 0, rights: 0 };
  /** Where the content of an inode has its place, for its further names. */
  const placedAt = new Map<number, Buffer>();
  for (let from = 0; from < files.length; from += maxFilesAtOnce) {
    signal.throwIfAborted();
    const some = files.slice(from, from + maxFilesAtOnce);
    const fresh = some.filter(({ number }) => !placedAt.has(number));
    const largestBytes = fresh.reduce((largest, { inode }) => Math.max(largest, inode.sizeBytes), 0);
    await image.dumpTo(
      dumped,
      fresh.map(({ number }) => number),
      largestBytes,
    );
    for (const item of some) {
      const first = placedAt.get(item.number);
      if (first !== undefined) await link(first, place(item));
      else if (!(await placeFile(join(dumped, String(item.number)), item, place(item)))) continue;
      placedAt.set(item.number, first ?? place(item));
      done.placed += 1;
      if (first === undefined) done.sizeBytes += item.inode.sizeBytes;
      if ((item.inode.mode & ~keptMode) !== 0) done.rights += 1;
    }
  }
  return done;
}

/**
 * Nobody works in the box's directory any more; but what did may have put anything there, under whatever name. Only a plain
 * file of the right size is what was read.
 */
async function placeFile(from: string, item: TreeItem, to: Buffer): Promise<boolean> {
  const handle = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: unknown) => {
      if (['ENOENT', 'ELOOP', 'ENXIO', 'EACCES'].includes(errnoOf(error) ?? '')) return null;
      throw error;
    },
  );
  if (handle === null) return false;
  try {
    const found = await handle.stat();
    if (!found.isFile() || found.nlink !== 1 || found.size !== item.inode.sizeBytes) return false;
    const { uid, gid } = ownerOf(item);
    await handle.chown(uid, gid);
    await handle.chmod(item.inode.mode & keptMode);
    await handle.utimes(item.inode.mtime, item.inode.mtime);
  } finally {
    await handle.close();
  }
  await rename(from, to);
  return true;
}

/** @returns how many could be read, and are there */
export async function placeSymlinks(
  { image }: PlaceOrder,
  symlinks: TreeItem[],
  place: (item: TreeItem) => Buffer,
): Promise<number> {
  let placed = 0;
  for (const item of symlinks) {
    const target = await image.linkTarget(item.number, item.inode);
    if (!target || target.length === 0 || target.includes(0)) continue;
    await symlink(target, place(item));
    const { uid, gid } = ownerOf(item);
    await lchown(place(item), uid, gid);
    await lutimes(place(item), item.inode.mtime, item.inode.mtime);
    placed += 1;
  }
  return placed;
}

/** Without setuid and setgid. */
const keptMode = 0o1777;

/** Gives a directory its owner, its mode and its time; when all that is in it is there. */
export async function finish(path: Buffer, item: TreeItem): Promise<void> {
  const { uid, gid } = ownerOf(item);
  await chown(path, uid, gid);
  await chmod(path, item.inode.mode & keptMode);
  await utimes(path, item.inode.mtime, item.inode.mtime);
}

/** Only root can give files away. */
function ownerOf({ inode }: TreeItem): { uid: number; gid: number } {
  if (process.geteuid?.() === 0) return { uid: inode.uid, gid: inode.gid };
  return { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
}
