import { randomBytes } from 'node:crypto';
import { lstat, readdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import { ensureDirectory, renameToNewName, syncDirectory } from '../image/durable-file.js';
import { renameExchange } from '../image/linux-calls.js';
import { HeldDirectory } from '../path/held-directory.js';
import { unlessRead } from './hold.js';
import {
  isManifestLeftover,
  isTrashedFile,
  isTrashedSnapshot,
  manifestName,
  type StorePlace,
  trashDirectory,
} from './layout.js';
import { isSound, requireStill, type StoredSnapshot } from './stored-snapshots.js';

/** A snapshot that is no longer one: in no list, but not deleted yet. */
export interface Trashed {
  snapshot: string;
  directory: string;
}

/**
 * Takes a snapshot out of every list, durably. The order is the promise: both directories MUST be durable before the
 * history says that the snapshot is gone, and the deletion MUST come last, so that at every instant it is either wholly
 * there or in the trash. Whose it is MUST be read once more, right before.
 * @throws Busy while it is being read, NotOurs when something else lies in it, NoSuchSnapshot, SnapshotChanged
 */
export async function trashSnapshot(
  place: StorePlace,
  found: StoredSnapshot,
  read: (snapshot: string) => Promise<StoredSnapshot>,
): Promise<Trashed> {
  return await unlessRead(found, async () => {
    const stored = await read(found.snapshot);
    requireStill(place.name, found, stored);
    await requireOnlyOurs(stored);
    const directory = await moveAside(place, stored.directory, stored.snapshot);
    return { snapshot: stored.snapshot, directory };
  });
}

/**
 * Puts a whole copy in the place of a damaged one, which goes to the trash. The whole one MUST be durable, and proven, before, under
 * a name that no list shows; the two MUST change places at one instant, so that at every instant the one or the other is listed,
 * never none and never both; and that MUST be durable before the damaged one is in the trash, or anybody is told. Where the filesystem
 * can't do that, it goes by `replaceInSteps`.
 * @param whole path of the whole copy, in the directory of the damaged one
 * @throws Busy while the damaged one is being read, NotOurs when something else lies in it, NoSuchSnapshot
 */
export async function replaceSnapshot(
  place: StorePlace,
  damaged: StoredSnapshot,
  whole: string,
): Promise<void> {
  const { snapshot, directory: path } = damaged;
  await unlessRead(damaged, async () => {
    await requireOnlyOurs(damaged);
    try {
      await renameExchange(whole, path);
    } catch (error) {
      if (errnoOf(error) !== 'EINVAL') throw error;
      return await replaceInSteps(place, damaged, whole);
    }
    await syncDirectory(dirname(path));
    // From here on the whole one is the snapshot. The other one is in no list, and where it can't be moved it goes as all that is incoming.
    await moveAside(place, whole, snapshot).catch((error: unknown) => {
      if (errnoOf(error) === undefined) throw error;
    });
  });
}

/**
 * As `replaceSnapshot`, on a filesystem that can't exchange names, as NFS. One archive takes the place of the other at one instant as
 * well. Of directories the damaged one MUST be in the trash, durably, before the whole one gets its name, and that MUST be durable before
 * anybody is told. Whoever dies between the two leaves none of them listed here, as if the damaged one had been removed: the sound copy
 * that it was healed from is where it was.
 */
async function replaceInSteps(
  place: StorePlace,
  { snapshot, directory: path }: StoredSnapshot,
  whole: string,
): Promise<void> {
  if ((await kindOf(path)) === 'file') await rename(whole, path);
  else {
    const aside = await moveAside(place, path, snapshot);
    try {
      await renameToNewName(whole, path);
    } catch (error) {
      // The first failure is the one that counts; where even this fails, it is as after a death.
      await renameToNewName(aside, path).catch(() => {});
      throw error;
    }
  }
  await syncDirectory(dirname(path));
}

/** Takes files of ours out of their directory, as `trashSnapshot` does with a snapshot. */
export async function trashFiles(place: StorePlace, paths: readonly string[]): Promise<void> {
  for (const path of paths) await moveAside(place, path, basename(path));
}

/**
 * Deletes what lies in the trash, and only what a removal has put there: of its names, and of its kind. Never follows a
 * link.
 */
export async function deleteTrash(
  place: StorePlace,
  snapshotsAre: 'directory' | 'file' = 'directory',
): Promise<void> {
  const path = trashDirectory(place);
  // A link in the place of the trash would lead us to what others have.
  if ((await kindOf(path)) !== 'directory') return;
  // Held: whoever serves a share could put one there meanwhile.
  const trash = await HeldDirectory.open(path);
  try {
    // Somebody else may be emptying it as well.
    for (const entry of await trash.names()) {
      const kind = await kindOf(trash.at(entry));
      const isSnapshot = isTrashedSnapshot(entry) && kind === snapshotsAre;
      if (isSnapshot && kind === 'directory') await trash.removeTree(entry);
      else if (isSnapshot || (isTrashedFile(entry) && kind === 'file')) await trash.unlink(entry);
    }
  } finally {
    await trash.close();
  }
}

async function moveAside(place: StorePlace, path: string, name: string): Promise<string> {
  const trash = trashDirectory(place);
  await ensureDirectory(trash);
  const target = join(trash, `${name}.${randomBytes(4).toString('hex')}`);
  await renameToNewName(path, target);
  await syncDirectory(trash);
  await syncDirectory(dirname(path));
  return target;
}

/** What somebody else has put beside the disks would be deleted with them. Of a damaged snapshot nobody can tell. */
async function requireOnlyOurs(stored: StoredSnapshot): Promise<void> {
  // An archive is one file.
  if (!isSound(stored) || (await kindOf(stored.directory)) !== 'directory') return;
  const ours = new Set([manifestName, ...stored.manifest.disks.map(({ file }) => file)]);
  const entries = await readdir(stored.directory);
  const foreign = entries.find((entry) => !ours.has(entry) && !isManifestLeftover(entry));
  if (foreign !== undefined) throw new UmlsnapError('NotOurs', { path: join(stored.directory, foreign) });
}

async function kindOf(path: string): Promise<'directory' | 'file' | 'other'> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found?.isDirectory()) return 'directory';
  return found?.isFile() ? 'file' : 'other';
}
