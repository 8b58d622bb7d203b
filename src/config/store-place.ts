import { accessSync, constants, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf } from '../errors.js';

/**
 * Where a store could lie for these disks: one directory for each filesystem that they lie on, as high up in it as we may
 * write and others may not. On the disks' own filesystem snapshots are reflinks, where that has them.
 * @param disks absolute paths; those that are not there have no place
 * @returns the directory, which is empty or not there yet, by disk
 */
export function storePlaces(disks: readonly string[]): Map<string, string> {
  const byFilesystem = new Map<number, string>();
  const places = new Map<string, string>();
  for (const disk of disks) {
    const filesystem = statSync(disk, { throwIfNoEntry: false })?.dev;
    if (filesystem === undefined) continue;
    const place = byFilesystem.get(filesystem) ?? freeNameIn(highestDirectory(dirname(disk), filesystem));
    byFilesystem.set(filesystem, place);
    places.set(disk, place);
  }
  return places;
}

function highestDirectory(directory: string, filesystem: number): string {
  let highest = directory;
  for (let at = directory; at !== '/'; at = dirname(at)) {
    const found = statSync(at, { throwIfNoEntry: false });
    if (!found || found.dev !== filesystem) break;
    if ((found.mode & 0o002) === 0 && isOursToWrite(at)) highest = at;
  }
  return highest;
}

function isOursToWrite(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
    return true;
  } catch (error) {
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}

/** A directory with something in it can't become a store. */
function freeNameIn(directory: string): string {
  for (let number = 1; ; number++) {
    const path = join(directory, number === 1 ? 'umlsnap' : `umlsnap-${number}`);
    if (!statSync(path, { throwIfNoEntry: false })) return path;
    if (isEmptyDirectory(path)) return path;
  }
}

function isEmptyDirectory(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch (error) {
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}
