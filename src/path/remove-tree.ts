import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rmdir, unlink } from 'node:fs/promises';
import { errnoOf } from '../errors.js';

/** Missing in Node's constants; the same on every architecture that UML exists for. */
export const openAsPath = 0o10000000;

/** Removals that lead nowhere else, whatever others put in their way: each level is found by the descriptor of the one above. */

/** Removes all that is in a directory that is held. */
export async function emptyDirectory(directory: FileHandle): Promise<void> {
  const here = Buffer.from(`/proc/self/fd/${directory.fd}/`);
  for (const entry of (await unlessGone(readdir(here, { encoding: 'buffer' }))) ?? []) {
    const path = Buffer.concat([here, entry]);
    await unlessGone(unlink(path)).catch(async (error: unknown) => {
      if (errnoOf(error) !== 'EISDIR') throw error;
      await removeDirectory(path);
    });
  }
}

/** @param path its last component is the only one that is looked up */
export async function removeDirectory(path: string | Buffer): Promise<void> {
  const directory = await unlessGone(open(path, openAsPath | constants.O_NOFOLLOW | constants.O_DIRECTORY));
  if (directory === null) return;
  try {
    await emptyDirectory(directory);
  } finally {
    await directory.close();
  }
  await unlessGone(rmdir(path));
}

async function unlessGone<T>(work: Promise<T>): Promise<T | null> {
  return await work.catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  });
}
