import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../errors.js';
import { HeldDirectory } from './held-directory.js';

/**
 * That a directory is only ours: root and we alone can change what lies there, and its path. What is made below it may then be used by its path.
 * Of one that is not there yet, what there is of its path.
 * @throws PathRefused, or Node's errors
 */
export async function requireOwnPlace(path: string): Promise<void> {
  try {
    const held = await HeldDirectory.openOwn(path);
    await held.close();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    const parent = await HeldDirectory.open(await nearestIn(dirname(path)));
    try {
      parent.requireTrusted(null);
    } finally {
      await parent.close();
    }
  }
}

async function nearestIn(path: string): Promise<string> {
  const isThere = await lstat(path).then(
    () => true,
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return false;
      throw error;
    },
  );
  return isThere ? path : await nearestIn(dirname(path));
}
