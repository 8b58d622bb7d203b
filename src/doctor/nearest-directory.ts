import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../errors.js';

/** The directory itself, or the nearest one above it that is there: where it would be made. @param path absolute */
export function nearestDirectory(path: string): string {
  let place = path;
  while (!statSync(place, { throwIfNoEntry: false })?.isDirectory()) place = dirname(place);
  return place;
}

/** What keeps us from making anything in a directory, for people; null: nothing. */
export function problemOfWriting(path: string): string | null {
  try {
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno === 'EROFS' ? 'read-only filesystem (EROFS)' : `no right to write (${errno})`;
  }
}
