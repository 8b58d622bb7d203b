import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import { errnoOf, isError, problemOf, UmlsnapError } from '../errors.js';
import { withLocks } from '../exclusive-lock.js';
import { freeBytesIn, withScratch } from '../restore/filesystems/scratch.js';

/** The directories of a drill, both its own. */
export interface DrillPlace {
  /** For the copies of the disks; on a disk. */
  scratch: string;
  /** For our sockets: short, in memory, and seen by the guest under the same name. */
  sockets: string;
}

/**
 * Runs `use` with the directories of a drill, which are gone afterwards. One drill at a time for each scratch directory, so that
 * what is found there was left by one that was killed, and goes first.
 * @throws Busy, ScratchUnusable, DrillImpossible
 */
export async function withDrillPlace<T>(
  scratchRoot: string,
  options: { holder: string; signal?: AbortSignal; wait: boolean },
  use: (place: DrillPlace) => Promise<T>,
): Promise<T> {
  const request = { ...options, keys: [lockKey(scratchRoot)], what: 'A drill' };
  const sockets = socketsOf(scratchRoot);
  return await withLocks(request, async () => {
    await makeSockets(sockets);
    try {
      return await withScratch(scratchRoot, null, (scratch) => use({ scratch, sockets }));
    } finally {
      await rm(sockets, { recursive: true, force: true });
    }
  });
}

/** Removes the sockets that a killed drill has left; its guest died with it. Its copies are scratch as any other. */
export async function removeDeadDrill(scratchRoot: string, holder: string): Promise<void> {
  const request = { keys: [lockKey(scratchRoot)], what: 'A drill', holder, wait: false };
  try {
    await withLocks(request, () => rm(socketsOf(scratchRoot), { recursive: true, force: true }));
  } catch (error) {
    // One is at work: nothing there is dead.
    if (!isError(error, 'Busy')) throw error;
  }
}

const lockKey = (scratchRoot: string) => `drill ${scratchRoot}`;

function socketsOf(scratchRoot: string): string {
  const name = createHash('sha256').update(scratchRoot).digest('hex').slice(0, 16);
  return `/dev/shm/umlsnap-drill-${name}`;
}

/** To be passed by the guest's user; never a directory that is there already, which may be anybody's. */
async function makeSockets(sockets: string): Promise<void> {
  try {
    await rm(sockets, { recursive: true, force: true });
    await mkdir(sockets, { mode: 0o700 });
    // Not by `mkdir`: the daemon's umask takes it away (docs/systemd).
    await chmod(sockets, 0o711);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    const problem = `no place for its sockets: ${problemOf(error)}`;
    throw new UmlsnapError('DrillImpossible', { problem }, error);
  }
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

/** The guest's user can then open its disks, and nothing else of ours. */
export async function giveTo(user: number | null, paths: string[]): Promise<void> {
  if (user === null) return;
  for (const path of paths) await chown(path, user, user);
}
