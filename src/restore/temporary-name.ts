import { randomBytes } from 'node:crypto';
import { lstat, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../errors.js';
import { findOpener } from './file-holder.js';

const infix = '.umlsnap-restore-';

/** The name beside `path` under which its new content is written. */
export function temporaryName(path: string): string {
  return `${path}${infix}${randomBytes(4).toString('hex')}`;
}

/**
 * Removes what a restore of this path left behind when it was killed: it may be as large as the disk, and the next try needs
 * the room. Only files of our kind of name that nobody has open.
 */
export async function removeLeftovers(path: string): Promise<void> {
  const start = `${basename(path)}${infix}`;
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(start) || !/^[0-9a-f]{8}$/.test(name.slice(start.length))) continue;
    const leftover = join(dirname(path), name);
    const found = await lstat(leftover, { bigint: true }).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    });
    if (found?.isFile() && (await findOpener(found)) === null) await rm(leftover, { force: true });
  }
}
