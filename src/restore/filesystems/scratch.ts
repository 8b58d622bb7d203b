import { randomBytes } from 'node:crypto';
import { chown, lstat, mkdir, readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, problemOf, UmlsnapError } from '../../errors.js';
import { isAlive, ownIdentity } from '../../process-identity.js';

/** Scratch directories: PLACE/PID-STARTTICKS-RANDOM, so that those of dead processes can be told from those in use. */

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
  const directory = join(place, `${pid}-${startTicks}-${randomBytes(4).toString('hex')}`);
  await onPlace(place, async () => {
    await makePlace(place);
    await removeScratchLeftovers(place);
    await mkdir(directory, { mode: 0o700 });
    if (owner) await chown(directory, owner.uid, owner.gid);
  });
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * Removes what killed processes have left in this place.
 * @returns the paths that are gone
 */
export async function removeScratchLeftovers(place: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await namesIn(place)) {
    const [, pid, startTicks] = scratchName.exec(name) ?? [];
    if (pid === undefined || isAlive({ pid: Number(pid), startTicks: Number(startTicks) })) continue;
    await rm(join(place, name), { recursive: true, force: true });
    removed.push(join(place, name));
  }
  return removed;
}

/** Bytes that an ordinary user may still write there. */
export async function freeBytesIn(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

async function namesIn(place: string): Promise<string[]> {
  try {
    return await readdir(place);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Somebody else's directory of that name, or a link to one, could be taken away under us. */
async function makePlace(place: string): Promise<void> {
  await mkdir(place, { recursive: true, mode: 0o700 });
  const found = await lstat(place);
  if (!found.isDirectory() || found.uid !== process.getuid?.())
    throw new Error('it is not a directory of ours');
}

async function onPlace(place: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new UmlsnapError('ScratchUnusable', { path: place, problem: problemOf(error) }, error);
  }
}
