import { randomBytes } from 'node:crypto';
import { compactUtc } from '../clock.js';
import type { Place } from '../path/held-directory.js';
import { type FileIdentity, findOpener } from './file-holder.js';

const infix = '.umlsnap-restore-';
const replacedInfix = '.before-restore-';

/** The name beside a file under which its new content is written. */
export function temporaryName(name: string): string {
  return `${name}${infix}${randomBytes(4).toString('hex')}`;
}

/** The name that a disk gets when a restored one takes its place. */
export function replacedName(name: string, now: Date): string {
  return `${name}${replacedInfix}${compactUtc(now)}`;
}

/** Takes back the second name that a restore gives to the old disk first, where it was killed before the new one came. */
export async function dropSecondName({ directory, name }: Place, { dev, ino }: FileIdentity): Promise<void> {
  for (const other of await directory.names()) {
    if (!other.startsWith(`${name}${replacedInfix}`)) continue;
    const found = await directory.stat(other);
    if (found?.ino === ino && found.dev === dev) await directory.unlink(other);
  }
}

/**
 * Removes what a restore of this file left behind when it was killed: it may be as large as the disk, and the next try needs
 * the room. Only files of our kind of name that nobody has open.
 */
export async function removeLeftovers({ directory, name }: Place): Promise<void> {
  const start = `${name}${infix}`;
  for (const leftover of await directory.names()) {
    if (!leftover.startsWith(start) || !/^[0-9a-f]{8}$/.test(leftover.slice(start.length))) continue;
    const found = await directory.stat(leftover);
    if (found?.isFile() && (await findOpener(found)) === null) await directory.unlink(leftover);
  }
}
