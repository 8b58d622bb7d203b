import { chown, rm } from 'node:fs/promises';
import { problemOf, UmlsnapError } from '../errors.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { makeSocketDirectory, socketBases } from '../path/socket-directory.js';
import { freeBytesIn, makeScratchPlace, withScratch } from '../restore/filesystems/scratch.js';

/** The directories of a drill, both its own. */
export interface DrillPlace {
  /** For the copies of the disks; on a disk. */
  scratch: string;
  /** For our sockets: short, and seen by the guest under the same name. */
  sockets: string;
}

/**
 * Runs `use` with the directories of a drill, which are gone afterwards. One drill at a time for each scratch directory, so
 * that what is found there was left by one that was killed, and goes first.
 * @throws Busy, ScratchUnusable, DrillImpossible
 */
export async function withDrillPlace<T>(
  scratchRoot: string,
  options: { holder: string; signal?: AbortSignal; wait: boolean },
  use: (place: DrillPlace) => Promise<T>,
): Promise<T> {
  await makeScratchPlace(scratchRoot);
  // Where there is no room for a lock, there is none for a drill.
  const lock = { on: 'directory', directory: scratchRoot, key: 'drill', orGoOn: true } as const;
  const request = { ...options, locks: [lock], what: 'A drill' };
  return await withLocks(request, async () => {
    const sockets = await makeSockets();
    try {
      return await withScratch(scratchRoot, null, (scratch) => use({ scratch, sockets }));
    } finally {
      await rm(sockets, { recursive: true, force: true });
    }
  });
}

/** The longest: of a directory for replies in it. */
const socketNameBytes = 'umlsnap-4194304-1234567890123-XXXXXX/0123456789abcdef'.length;

/** To be passed by the guest's user. */
async function makeSockets(): Promise<string> {
  const bases = socketBases(process.geteuid?.() === 0, socketNameBytes);
  return await makeSocketDirectory(bases, true).catch((error: unknown) => {
    const problem = `no place for its sockets: ${problemOf(error)}`;
    throw new UmlsnapError('DrillImpossible', { problem }, error);
  });
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
