import { statfs } from 'node:fs/promises';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { isPathError } from '../path/held-directory.js';
import type { StorePlace } from './layout.js';

/** Room in a store's filesystem, for a process without root's reserve. */
export interface FreeRoom {
  bytes: number;
  inodes: number;
}

/** Beside the data of its disks: manifest, directories, the maps of sparse files. */
const overheadBytes = 4 * 1024 * 1024;
const snapshotInodes = 24;

/**
 * The room without which no snapshot is begun.
 * @param dataBytes what the disks hold; 0 where the store shares their blocks
 */
export function roomForSnapshot(dataBytes: number): FreeRoom {
  return { bytes: dataBytes + overheadBytes, inodes: snapshotInodes };
}

/** A filesystem that has no fixed number of inodes (btrfs) counts none: then there are always enough. */
export async function freeRoom(place: StorePlace): Promise<FreeRoom> {
  const found = await statfs(place.path);
  return {
    bytes: found.bavail * found.bsize,
    inodes: found.files === 0 ? Number.MAX_SAFE_INTEGER : found.ffree,
  };
}

/**
 * Runs work on the store's files and gives what the filesystem says against it its name.
 * @throws StoreTooFull (ENOSPC, EDQUOT), StoreUnusable (any other errno, and a path that is not walked); all else as it is
 */
export async function onStore<T>(place: StorePlace, neededBytes: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw await storeFailure(place, neededBytes, error);
  }
}

async function storeFailure(place: StorePlace, neededBytes: number, error: unknown): Promise<unknown> {
  const errno = errnoOf(error);
  if (error instanceof UmlsnapError || !isPathError(error)) return error;
  const { name: store, path } = place;
  if (errno !== 'ENOSPC' && errno !== 'EDQUOT') {
    return new UmlsnapError('StoreUnusable', { store, path, problem: problemOf(error) }, error);
  }
  // Told only: what is free now may be more than when it ran out.
  const room = await freeRoom(place).catch(() => ({ bytes: 0, inodes: 0 }));
  const facts = { store, path, neededBytes, freeBytes: room.bytes, freeInodes: room.inodes };
  return new UmlsnapError('StoreTooFull', facts, error);
}
