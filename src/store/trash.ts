import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '../errors.js';
import { ensureDirectory, renameToNewName, syncDirectory } from '../image/durable-file.js';
import { isTrash, type StorePlace, trashDirectory } from './layout.js';
import type { StoredSnapshot } from './stored-snapshots.js';

/** A snapshot that is no longer one: in no list, but not deleted yet. */
export interface Trashed {
  snapshot: string;
  directory: string;
}

/**
 * Takes a snapshot out of every list, durably. The order is the promise: both directories MUST be durable before the
 * history says that the snapshot is gone, and the deletion MUST come last, so that at every instant it is either wholly
 * there or in the trash.
 */
export async function trashSnapshot(place: StorePlace, stored: StoredSnapshot): Promise<Trashed> {
  const trash = trashDirectory(place);
  await ensureDirectory(trash);
  const directory = join(trash, `${stored.snapshot}.${randomBytes(4).toString('hex')}`);
  await renameToNewName(stored.directory, directory);
  await syncDirectory(trash);
  await syncDirectory(dirname(stored.directory));
  return { snapshot: stored.snapshot, directory };
}

/** Deletes what lies in the trash, and only what a removal has put there; never follows a link. */
export async function deleteTrash(place: StorePlace): Promise<void> {
  const trash = trashDirectory(place);
  for (const entry of await entriesOf(trash)) {
    // Somebody else may be emptying it as well.
    if (isTrash(entry)) await rm(join(trash, entry), { recursive: true, force: true });
  }
}

async function entriesOf(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
