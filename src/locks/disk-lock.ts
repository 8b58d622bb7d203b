import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { errnoOf } from '../errors.js';
import { tryFlock } from '../image/linux-calls.js';
import { isPathError, withDirectoryOf } from '../path/held-directory.js';
import { describeFlockHolder } from './flock-holder.js';
import { type Attempt, type Lockable, noLock } from './lock.js';

/**
 * The lock on a guest's disk: a flock on the disk itself, the one thing that is the same for whoever knows that disk, by whatever
 * state directory. It meets none of the locks that a UML takes on its disks (fcntl).
 *
 * Whoever may read the disk can flock it as well. So one that is refused counts only if it is held by root, by us or by the disk's
 * owner: a stranger MUST NOT be able to keep a guest from being backed up. We go on without it then, and the lock on the guest in
 * the state directory excludes alone, as it does where there is no flock: on NFS it would be one of fcntl, and is refused to
 * a descriptor for reading. Nor do we see who holds it in another pid namespace.
 */

/** @returns undefined where there is no such file: that is the preflight's to complain about */
export async function diskLock(path: string): Promise<Lockable | undefined> {
  const found = await lookAt(path);
  return found && { identity: `2 disk ${found.dev} ${found.ino}`, take: () => take(path) };
}

async function take(path: string): Promise<Attempt> {
  for (;;) {
    const disk = await openIfPossible(path);
    if (!disk) return { held: noLock };
    try {
      const file = await disk.stat({ bigint: true });
      if (!lock(disk)) {
        const heldBy = await describeFlockHolder(file);
        if (heldBy === undefined) return await without(disk);
        await disk.close();
        return { heldBy };
      }
      // A restore that we waited for has put another one in its place.
      const there = await lookAt(path);
      if (!there || (there.ino === file.ino && there.dev === file.dev))
        return { held: { release: () => disk.close() } };
      await disk.close();
    } catch (error) {
      await disk.close();
      throw error;
    }
  }
}

async function without(disk: FileHandle): Promise<Attempt> {
  await disk.close();
  return { held: noLock };
}

/** Where a filesystem knows no such lock, or not for a file that is open for reading, nobody holds one. */
function lock(disk: FileHandle): boolean {
  try {
    return tryFlock(disk.fd, 'exclusive');
  } catch (error) {
    if (['EBADF', 'EINVAL', 'ENOLCK', 'ENOSYS', 'EOPNOTSUPP'].includes(errnoOf(error) ?? '')) return true;
    throw error;
  }
}

async function openIfPossible(path: string): Promise<FileHandle | undefined> {
  return await withDirectoryOf(path, (directory, name) => directory.openFile(name, constants.O_RDONLY)).catch(
    ifUnreachable,
  );
}

async function lookAt(path: string) {
  const found = await withDirectoryOf(path, (directory, name) => directory.stat(name)).catch(ifUnreachable);
  return found?.isFile() ? found : undefined;
}

function ifUnreachable(error: unknown): undefined {
  if (!isPathError(error)) throw error;
}
