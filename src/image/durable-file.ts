import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../errors.js';
import { renameNoReplace } from './linux-calls.js';

/**
 * Files that are whole or not there after a power cut. An fsync that failed MUST NOT be tried again: the kernel has
 * dropped the pages and the second one would say yes (measured over power cuts: without the directory's fsync every
 * acknowledged snapshot was lost, with it none).
 */

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Writes a new file, 0600, and makes its content durable; its name is the caller's to sync. @throws EEXIST */
export async function writeNewFile(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Replaces a file: at every instant it is wholly the old one or wholly the new one. `temporary` lies beside it. */
export async function replaceFile(path: string, temporary: string, text: string): Promise<void> {
  try {
    await writeNewFile(temporary, text);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/**
 * Makes a directory, 0700, unless it is there, and its name durable: also of one that is there, since whoever made it may
 * not have come that far.
 * @throws ENOTDIR for anything else of that name
 */
export async function ensureDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    // A link of that name could lead anywhere.
    if (!(await lstat(path)).isDirectory()) {
      throw Object.assign(new Error(`${path} is not a directory`), { code: 'ENOTDIR' });
    }
  }
  await syncDirectory(dirname(path));
}

/** Makes a directory and those above it, 0700, as far as they are not there. The names of what was made are durable then. */
export async function ensureDirectories(path: string): Promise<void> {
  const firstMade = await mkdir(path, { recursive: true, mode: 0o700 });
  if (firstMade === undefined) return;
  for (let made = path; made.length >= firstMade.length; made = dirname(made)) {
    await syncDirectory(dirname(made));
  }
}

/**
 * Renames a directory to a name that MUST NOT be taken: a plain rename would silently replace an empty directory.
 * Network filesystems know no such rename (EINVAL); there we look first.
 * @throws EEXIST
 */
export async function renameToNewName(from: string, to: string): Promise<void> {
  try {
    await renameNoReplace(from, to);
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL') throw error;
    if (await isThere(to)) throw Object.assign(new Error(`${to} exists`), { code: 'EEXIST' });
    await rename(from, to);
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
