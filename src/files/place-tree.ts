import { constants } from 'node:fs';
import { chmod, chown, copyFile, lchown, link, lutimes, open, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
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

/** What lies in the box's directory at a time, unless one file alone is more. */
const maxBytesAtOnce = 64 * 2 ** 20;

/**
 * Reads the files out, some at a time, and puts them in their places.
 * @returns how many there are, and of those how many have lost a right
 * @throws FilesImpossible when there is no room to read them out
 */
export async function placeFiles(
  { image, signal }: PlaceOrder,
  files: TreeItem[],
  place: (item: TreeItem) => Buffer,
): Promise<{ placed: number; sizeBytes: number; rights: number }> {
  const done = { placed: 0, sizeBytes: 0, rights: 0 };
  /** Where the content of an inode has its place, for its further names. */
  const placedAt = new Map<number, Buffer>();
  for (const some of inParts(files)) {
    signal.throwIfAborted();
    const fresh = some.filter(({ number }) => !placedAt.has(number));
    const sizes = fresh.map(({ inode }) => inode.sizeBytes);
    await requireRoom(
      image,
      sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0),
    );
    const numbers = fresh.map(({ number }) => number);
    await image.withDumped(numbers, Math.max(0, ...sizes), async (dumped) => {
      for (const item of some) {
        const first = placedAt.get(item.number);
        if (first !== undefined) await link(first, place(item));
        else if (!(await placeFile(join(dumped, String(item.number)), item, place(item)))) continue;
        placedAt.set(item.number, first ?? place(item));
        done.placed += 1;
        if (first === undefined) done.sizeBytes += item.inode.sizeBytes;
        if ((item.inode.mode & ~keptMode) !== 0) done.rights += 1;
      }
    });
  }
  return done;
}

function inParts(files: TreeItem[]): TreeItem[][] {
  const parts: TreeItem[][] = [];
  let bytes = 0;
  for (const item of files) {
    const part = parts.at(-1);
    const fits = part && part.length < maxFilesAtOnce && bytes + item.inode.sizeBytes <= maxBytesAtOnce;
    bytes = (fits ? bytes : 0) + item.inode.sizeBytes;
    if (fits) part.push(item);
    else parts.push([item]);
  }
  return parts;
}

/** What a full disk cuts short would be taken for what can't be read. */
async function requireRoom(image: ExtImage, neededBytes: number): Promise<void> {
  const freeBytes = await image.roomBytes();
  if (neededBytes <= freeBytes) return;
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const problem = `files of ${mib(neededBytes)} have to be read out beside the copy of the disk, and there are ${mib(freeBytes)} free`;
  throw new UmlsnapError('FilesImpossible', { problem });
}

/**
 * Nobody works in the box's directory any more; but what did may have put anything there, under whatever name. Only a plain
 * file of the right size is what was read, and it is copied from what was looked at.
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
    const flags = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE;
    await copyFile(`/proc/self/fd/${handle.fd}`, to, flags);
  } finally {
    await handle.close();
  }
  await finish(to, item);
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

/** Gives a file, or a directory when all that is in it is there, its owner, its mode and its time. */
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
