import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, UmlsnapError } from '../errors.js';
import { tryFlock } from '../image/linux-calls.js';
import type { StoredSnapshot } from './stored-snapshots.js';

/**
 * A snapshot that is being read is held, and no removal takes it away meanwhile: a flock on its directory, shared by all who
 * read and exclusive for who removes. The kernel releases it at any death. Filesystems that know no such lock (some of the
 * network) do without: there a reader finds the snapshot gone.
 */

/** A removal holds it for as long as a rename takes. */
const patienceMs = 5000;
const lookAgainMs = 20;

/** Holds it for reading, until the handle is closed. @throws NoSuchSnapshot when it was removed meanwhile, Busy */
export async function holdForReading(stored: StoredSnapshot): Promise<FileHandle> {
  return await opened(stored, async (directory) => {
    const startedMs = performance.now();
    while (!lock(directory, 'shared')) {
      if (performance.now() - startedMs > patienceMs) throw busy(stored, 'it is being removed');
      await sleep(lookAgainMs);
    }
  });
}

/** Runs `use`, which reads the snapshot, while no removal can take it away. @throws NoSuchSnapshot when one has by now, Busy */
export async function whileHeld<T>(
  stored: StoredSnapshot,
  onStore: (hold: () => Promise<FileHandle>) => Promise<FileHandle>,
  use: () => Promise<T>,
): Promise<T> {
  const hold = await onStore(() => holdForReading(stored));
  try {
    return await use();
  } finally {
    await hold.close();
  }
}

/** Runs `use`, which removes the snapshot, unless somebody reads it. @throws Busy, NoSuchSnapshot */
export async function unlessRead<T>(stored: StoredSnapshot, use: () => Promise<T>): Promise<T> {
  const directory = await opened(stored, async (found) => {
    if (!lock(found, 'exclusive')) throw busy(stored, 'it is being restored or verified');
  });
  try {
    return await use();
  } finally {
    await directory.close();
  }
}

async function opened(
  stored: StoredSnapshot,
  acquire: (directory: FileHandle) => Promise<void>,
): Promise<FileHandle> {
  // An archive's is a file.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const directory = await open(stored.directory, flags).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') throw gone(stored);
    throw error;
  });
  try {
    await acquire(directory);
    await requireStillThere(stored, directory);
    return directory;
  } catch (error) {
    await directory.close();
    throw error;
  }
}

function lock(directory: FileHandle, kind: 'shared' | 'exclusive'): boolean {
  try {
    return tryFlock(directory.fd, kind);
  } catch (error) {
    if (['EBADF', 'EINVAL', 'ENOLCK', 'ENOSYS', 'EOPNOTSUPP'].includes(errnoOf(error) ?? '')) return true;
    throw error;
  }
}

/** Between the look and the lock, it may have been renamed to the trash. */
async function requireStillThere(stored: StoredSnapshot, directory: FileHandle): Promise<void> {
  const ours = await directory.stat({ bigint: true });
  const there = await lstat(stored.directory, { bigint: true }).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') throw gone(stored);
    throw error;
  });
  if (there.ino !== ours.ino || there.dev !== ours.dev) throw gone(stored);
}

function gone({ snapshot }: StoredSnapshot): UmlsnapError<'NoSuchSnapshot'> {
  return new UmlsnapError('NoSuchSnapshot', { snapshot });
}

function busy({ snapshot }: StoredSnapshot, holder: string): UmlsnapError<'Busy'> {
  return new UmlsnapError('Busy', { what: `Snapshot ${snapshot}`, holder });
}
