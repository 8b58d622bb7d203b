import { constants } from 'node:fs';
import {
  chmod,
  chown,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  symlink,
  utimes,
} from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import { renameToNewName, syncDirectory } from '../image/durable-file.js';
import { isAlive, ownIdentity } from '../process-identity.js';
import { freeBytesIn } from '../restore/filesystems/scratch.js';
import { restoreFailed } from '../restore/staging.js';
import { runCommand } from '../run-command.js';
import { type ExtImage, giveToBox } from './ext-image.js';
import type { FoundFile } from './find-file.js';
import { planTree, type Tree, type TreeItem } from './plan-tree.js';

export interface ExtractOrder {
  snapshot: string;
  image: ExtImage;
  /** Whom the programs that read the image run as; null: ourselves. */
  user: number | null;
  top: FoundFile;
  /** What `top` is called on the host, below `directory`. */
  name: string;
  directory: string;
  signal: AbortSignal;
}

export interface Extracted {
  path: string;
  files: number;
  directories: number;
  symlinks: number;
  sizeBytes: number;
  warnings: string[];
}

/** Stays free on the disk that is written to. */
const spareBytes = 64 * 2 ** 20;
/** So much is read out at a time: it lies in the box's directory before it has its place. */
const maxFilesAtOnce = 500;

/**
 * Brings a file or a directory tree of an image to the host. It MUST NOT get its name before all of it is there and durable; a failure
 * leaves nothing. Symbolic links are made after all else, so that no name of the tree is ever looked for through one. Owners, as
 * root, modes and times are kept, but no right to run as somebody else (setuid, setgid): what a guest calls root's is not root's here.
 * @throws TargetExists, RestoreFailed, or the signal's reason
 */
export async function extractTree(order: ExtractOrder): Promise<Extracted> {
  const { snapshot, directory, name } = order;
  const target = join(directory, name);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await refuseExisting(target);
    const tree = await planTree(order.image, order.top);
    await requireRoom(order, tree);
    return await withStagingIn(directory, async (staging) => {
      const made = await makeTree(order, tree, staging);
      await runCommand(['sync', '--file-system', staging], { timeoutMs: null, signal: order.signal });
      await renameToNewName(join(staging, 'tree', 'top'), target).catch((error: unknown) => {
        throw errnoOf(error) === 'EEXIST' ? new UmlsnapError('TargetExists', { path: target }, error) : error;
      });
      await syncDirectory(directory);
      return { path: target, ...made };
    });
  } catch (error) {
    throw restoreFailed(snapshot, target, error);
  }
}

async function refuseExisting(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  });
  if (found !== null) throw new UmlsnapError('TargetExists', { path });
}

async function requireRoom({ snapshot, directory }: ExtractOrder, { files }: Tree): Promise<void> {
  const neededBytes = files.reduce((sum, { inode }) => sum + inode.sizeBytes, 0);
  const freeBytes = await freeBytesIn(directory);
  if (neededBytes + spareBytes <= freeBytes) return;
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const problem = `it takes ${mib(neededBytes)} (holes are filled), and there are ${mib(freeBytes)} free`;
  throw new UmlsnapError('RestoreFailed', { snapshot, path: directory, problem });
}

const stagingName = /^\.umlsnap-files-(\d{1,10})-(\d{1,19})$/;

/** A directory beside the target, on its disk. What a killed one left there goes first. */
async function withStagingIn<T>(directory: string, use: (staging: string) => Promise<T>): Promise<T> {
  for (const name of await readdir(directory)) {
    const [, pid, startTicks] = stagingName.exec(name) ?? [];
    if (pid === undefined || isAlive({ pid: Number(pid), startTicks: Number(startTicks) })) continue;
    await rm(join(directory, name), { recursive: true, force: true });
  }
  const { pid, startTicks } = ownIdentity();
  const staging = join(directory, `.umlsnap-files-${pid}-${startTicks}`);
  await mkdir(staging, { mode: 0o700 });
  try {
    return await use(staging);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

type Made = Omit<Extracted, 'path'>;

async function makeTree(order: ExtractOrder, tree: Tree, staging: string): Promise<Made> {
  const root = join(staging, 'tree');
  const dumped = join(staging, 'dumped');
  await mkdir(root);
  await mkdir(dumped, { mode: 0o700 });
  await giveToBox(dumped, order.user);
  const place = placeIn(root, order.top.name);
  for (const item of tree.directories) await mkdir(place(item), { mode: 0o700 });
  const files = await placeFiles(order, tree.files, dumped, place);
  const symlinks = await placeSymlinks(order, tree.symlinks, place);
  // From below: what is changed in a directory changes its time.
  for (const item of [...tree.directories].reverse()) await finish(place(item), item);
  const unreadable = tree.files.length - files.placed + (tree.symlinks.length - symlinks);
  const leftOut =
    unreadable === 0 ? tree.leftOut : [...tree.leftOut, `${unreadable} files that can't be read`];
  return {
    ...{ files: files.placed, directories: tree.directories.length, symlinks, sizeBytes: files.sizeBytes },
    warnings: [
      ...(leftOut.length === 0 ? [] : [`left out: ${leftOut.join(', ')}`]),
      ...(files.rights === 0 ? [] : [`${files.rights} files have lost their setuid or setgid`]),
    ],
  };
}

/** The first part of each path is the name of what is brought back, which it gets at the very end. */
function placeIn(root: string, name: Buffer): (item: TreeItem) => Buffer {
  const top = Buffer.from(join(root, 'top'));
  return ({ path }) => Buffer.concat([top, path.subarray(name.length)]);
}

async function placeFiles(
  { image, signal }: ExtractOrder,
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

async function placeSymlinks(
  { image }: ExtractOrder,
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

async function finish(path: Buffer, item: TreeItem): Promise<void> {
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
