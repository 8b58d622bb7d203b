import { randomBytes } from 'node:crypto';
import { chown, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, problemOf, UmlsnapError } from '../../errors.js';
import { HeldDirectory } from '../../path/held-directory.js';
import { isAlive, ownIdentity } from '../../process-identity.js';

/** Scratch directories: PLACE/PID-STARTTICKS-RANDOM/own, so that those of dead processes can be told from those in use. */

/** Its owner's. Other programs may run as that user: what is above it lets nobody in but us. */
const ownName = 'own';
const scratchName = /^(\d{1,10})-(\d{1,19})-[0-9a-f]{8}$/;

/**
 * Runs `use` with a directory of its own, 0700, that belongs to `owner` and holds nothing else; it is gone afterwards, unless we
 * are killed. What killed ones have left is removed first.
 * @param place made if need be; it stays
 * @throws ScratchUnusable
 */
export async function withScratch<T>(
  place: string,
  owner: { uid: number; gid: number } | null,
  use: (directory: string) => Promise<T>,
): Promise<T> {
  const { pid, startTicks } = ownIdentity();
  const name = `${pid}-${startTicks}-${randomBytes(4).toString('hex')}`;
  const held = await onPlace(place, () => HeldDirectory.openOwn(place, { make: true }));
  try {
    await onPlace(place, async () => {
      await removeLeftoversIn(held);
      const closed = await held.makeOwn(name);
      try {
        await closed.makeDirectory(ownName);
        if (owner) await chown(closed.at(ownName), owner.uid, owner.gid);
      } finally {
        await closed.close();
      }
    });
    try {
      return await use(join(place, name, ownName));
    } finally {
      // What has read an image may still be there, and write: it can lead us nowhere.
      await held.removeTree(name);
    }
  } finally {
    await held.close();
  }
}

/**
 * Removes what killed processes have left in this place.
 * @returns the paths that are gone
 * @throws ScratchUnusable
 */
export async function removeScratchLeftovers(place: string): Promise<string[]> {
  return await onPlace(place, async () => {
    const held = await HeldDirectory.openOwn(place).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    });
    if (held === null) return [];
    try {
      return await removeLeftoversIn(held);
    } finally {
      await held.close();
    }
  });
}

async function removeLeftoversIn(held: HeldDirectory): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await held.names()) {
    const [, pid, startTicks] = scratchName.exec(name) ?? [];
    if (pid === undefined || isAlive({ pid: Number(pid), startTicks: Number(startTicks) })) continue;
    await held.removeTree(name);
    removed.push(join(held.path, name));
  }
  return removed;
}

/** Makes the place, if need be: only ours. @throws ScratchUnusable */
export async function makeScratchPlace(place: string): Promise<void> {
  await onPlace(place, async () => (await HeldDirectory.openOwn(place, { make: true })).close());
}

/** Bytes that an ordinary user may still write there. */
export async function freeBytesIn(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

async function onPlace<T>(place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new UmlsnapError('ScratchUnusable', { path: place, problem: problemOf(error) }, error);
  }
}
