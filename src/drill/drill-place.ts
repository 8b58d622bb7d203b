import { createHash } from 'node:crypto';
import { chown, mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { isError, problemOf, UmlsnapError } from '../errors.js';
import { withLocks } from '../exclusive-lock.js';

/** The directories of a drill, both its own. */
export interface DrillPlace {
  /** For the copies of the disks; on a disk. */
  scratch: string;
  /** For our sockets: short, in memory, and seen by the guest under the same name. */
  sockets: string;
}

/**
 * Runs `use` with the directories of a drill, which are gone afterwards. One drill at a time for each scratch directory: so
 * whatever lies there was left by one that was killed, and goes first.
 * @throws Busy, DrillImpossible
 */
export async function withDrillPlace<T>(
  scratchRoot: string,
  options: { holder: string; signal?: AbortSignal; wait: boolean },
  use: (place: DrillPlace) => Promise<T>,
): Promise<T> {
  const request = { ...options, keys: [lockKey(scratchRoot)], what: 'A drill' };
  return await withLocks(request, async () => {
    const place = placeOf(scratchRoot);
    await removePlace(place);
    try {
      await makePlace(scratchRoot, place);
      return await use(place);
    } finally {
      await removePlace(place);
    }
  });
}

/** Removes what a killed drill has left; its guest died with it. @returns false when there was nothing */
export async function removeDeadDrill(scratchRoot: string, holder: string): Promise<boolean> {
  const request = { keys: [lockKey(scratchRoot)], what: 'A drill', holder, wait: false };
  try {
    return await withLocks(request, () => removePlace(placeOf(scratchRoot)));
  } catch (error) {
    // One is at work: nothing there is dead.
    if (isError(error, 'Busy')) return false;
    throw error;
  }
}

const lockKey = (scratchRoot: string) => `drill ${scratchRoot}`;

function placeOf(scratchRoot: string): DrillPlace {
  const name = createHash('sha256').update(scratchRoot).digest('hex').slice(0, 16);
  return { scratch: join(scratchRoot, 'umlsnap-drill'), sockets: `/dev/shm/umlsnap-drill-${name}` };
}

async function makePlace(scratchRoot: string, { scratch, sockets }: DrillPlace): Promise<void> {
  try {
    await mkdir(scratchRoot, { recursive: true, mode: 0o700 });
    await mkdir(scratch, { mode: 0o700 });
    // To be passed by the guest's user; never one that is there already, which may be anybody's.
    await mkdir(sockets, { mode: 0o711 });
  } catch (error) {
    const problem = `no place for it: ${problemOf(error)}`;
    throw new UmlsnapError('DrillImpossible', { problem }, error);
  }
}

async function removePlace({ scratch, sockets }: DrillPlace): Promise<boolean> {
  let found = false;
  for (const directory of [scratch, sockets]) {
    try {
      await rm(directory, { recursive: true });
      found = true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return found;
}

/** Room that stays free for others, and that a guest may need for what it writes while it boots. */
export const spareBytes = 256 * 2 ** 20;

/** @throws DrillImpossible */
export async function requireRoom(directory: string, neededBytes: number): Promise<void> {
  const freeBytes = await freeBytesIn(directory);
  if (freeBytes >= neededBytes + spareBytes) return;
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const problem = `${directory} has ${mib(freeBytes)} free, and ${mib(neededBytes)} are needed for a copy of the disks, beside ${mib(spareBytes)} to spare`;
  throw new UmlsnapError('DrillImpossible', { problem });
}

export async function freeBytesIn(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** The guest's user can then open its disks, and nothing else of ours. */
export async function giveTo(user: number | null, paths: string[]): Promise<void> {
  if (user === null) return;
  for (const path of paths) await chown(path, user, user);
}
