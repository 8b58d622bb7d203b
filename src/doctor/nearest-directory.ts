import { statSync } from 'node:fs';
import { dirname } from 'node:path';

/** The directory itself, or the nearest one above it that is there: where it would be made. @param path absolute */
export function nearestDirectory(path: string): string {
  let place = path;
  while (!statSync(place, { throwIfNoEntry: false })?.isDirectory()) place = dirname(place);
  return place;
}
