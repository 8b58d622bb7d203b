import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import { renameToNewName, syncDirectory } from '../image/durable-file.js';
import { isAlive, ownIdentity } from '../process-identity.js';
import { freeBytesIn } from '../restore/filesystems/scratch.js';
import { restoreFailed } from '../restore/staging.js';
import { runCommand } from '../run-command.js';
import { type ExtImage, giveToBox } from './ext-image.js';
import type { FoundFile } from './find-file.js';
import { finish, placeFiles, placeIn, placeSymlinks } from './place-tree.js';
import { planTree, type Tree } from './plan-tree.js';

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
