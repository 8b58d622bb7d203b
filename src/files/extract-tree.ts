import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { countText } from '../error-text.js';
import { errnoOf, UmlsnapError } from '../errors.js';
import { renameToNewName } from '../image/durable-file.js';
import { HeldDirectory } from '../path/held-directory.js';
import { isAlive, ownIdentity } from '../process-identity.js';
import { freeBytesIn } from '../restore/filesystems/scratch.js';
import { restoreFailed } from '../restore/staging.js';
import { runCommand } from '../run-command.js';
import type { ExtImage } from './ext-image.js';
import type { FoundFile } from './find-file.js';
import { finish, placeFiles, placeIn, placeSymlinks } from './place-tree.js';
import { planTree, type Tree } from './plan-tree.js';

export interface ExtractOrder {
  snapshot: string;
  image: ExtImage;
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
  const { snapshot, name } = order;
  const target = join(order.directory, name);
  try {
    const directory = await HeldDirectory.open(order.directory, { make: true });
    try {
      directory.onlyStranger();
      if ((await directory.stat(name)) !== null) throw new UmlsnapError('TargetExists', { path: target });
      const tree = await planTree(order.image, order.top);
      await requireRoom(order, directory, tree);
      return await withStagingIn(directory, async (staging) => {
        const made = await makeTree(order, tree, staging.here);
        await runCommand(['sync', '--file-system', staging.here], { timeoutMs: null, signal: order.signal });
        await renameToNewName(join(staging.here, 'tree', 'top'), directory.at(name)).catch(
          (error: unknown) => {
            throw errnoOf(error) === 'EEXIST'
              ? new UmlsnapError('TargetExists', { path: target }, error)
              : error;
          },
        );
        await directory.sync();
        return { path: target, ...made };
      });
    } finally {
      await directory.close();
    }
  } catch (error) {
    throw restoreFailed(snapshot, target, error);
  }
}

async function requireRoom(
  { snapshot }: ExtractOrder,
  { here, path }: HeldDirectory,
  { files }: Tree,
): Promise<void> {
  const neededBytes = files.reduce((sum, { inode }) => sum + inode.sizeBytes, 0);
  const freeBytes = await freeBytesIn(here);
  if (neededBytes + spareBytes <= freeBytes) return;
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const problem = `it takes ${mib(neededBytes)} (holes are filled), and there are ${mib(freeBytes)} free`;
  throw new UmlsnapError('RestoreFailed', { snapshot, path, problem });
}

const stagingName = /^\.umlsnap-files-(\d{1,10})-(\d{1,19})(?:-[0-9a-f]{8})?$/;

/**
 * A directory beside the target, on its disk, that only we can enter: it is found by its descriptor, so that whoever may write to the target's
 * directory can move it, and lead us nowhere. What a killed one left there goes first, except in another user's directory: he could give
 * that name to any directory of root's that lies in one of his.
 */
async function withStagingIn<T>(
  directory: HeldDirectory,
  use: (staging: HeldDirectory) => Promise<T>,
): Promise<T> {
  for (const name of directory.onlyStranger() === null ? await directory.names() : []) {
    const [, pid, startTicks] = stagingName.exec(name) ?? [];
    if (pid === undefined || isAlive({ pid: Number(pid), startTicks: Number(startTicks) })) continue;
    if (await isOurs(directory, name)) await directory.removeTree(name);
  }
  const { pid, startTicks } = ownIdentity();
  const name = `.umlsnap-files-${pid}-${startTicks}-${randomBytes(4).toString('hex')}`;
  const staging = await directory.makeOwn(name);
  try {
    return await use(staging);
  } finally {
    await staging.clear();
    await staging.close();
    // Whoever may write to the directory can have moved it.
    if (await isOurs(directory, name)) await directory.rmdir(name);
  }
}

async function isOurs(directory: HeldDirectory, name: string): Promise<boolean> {
  const found = await directory.stat(name);
  return found?.isDirectory() === true && Number(found.uid) === process.geteuid?.();
}

type Made = Omit<Extracted, 'path'>;

async function makeTree(order: ExtractOrder, tree: Tree, staging: string): Promise<Made> {
  const root = join(staging, 'tree');
  await mkdir(root);
  const place = placeIn(root, order.top.name);
  for (const item of tree.directories) await mkdir(place(item), { mode: 0o700 });
  const files = await placeFiles(order, tree.files, place);
  const symlinks = await placeSymlinks(order, tree.symlinks, place);
  // From below: what is changed in a directory changes its time.
  for (const item of [...tree.directories].reverse()) await finish(place(item), item);
  const unreadable = tree.files.length - files.placed + (tree.symlinks.length - symlinks);
  const leftOut =
    unreadable === 0
      ? tree.leftOut
      : [...tree.leftOut, `${countText(unreadable, 'file')} that can't be read`];
  return {
    ...{ files: files.placed, directories: tree.directories.length, symlinks, sizeBytes: files.sizeBytes },
    warnings: [
      ...(leftOut.length === 0 ? [] : [`left out: ${leftOut.join(', ')}`]),
      ...(files.rights === 0
        ? []
        : [`${countText(files.rights, 'file has', 'files have')} lost setuid or setgid`]),
    ],
  };
}
