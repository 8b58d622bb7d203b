import { UmlsnapError } from '../errors.js';
import type { Manifest } from './manifest.js';

/**
 * A snapshot, an archive or a disk can say of a few KiB that they are petabytes of holes, and what they say is hashed and looked
 * through, zeros and all. So what they say MUST be held against the config's `largestSnapshot` before any work is done on it.
 */

/** @throws TooLarge */
export function requireBelievable({ snapshot, disks }: Manifest, largestBytes: number): void {
  const files = new Map<string, number>();
  for (const { file, sizeBytes, backing } of disks) {
    files.set(file, sizeBytes);
    if (backing) files.set(`backing/${backing.file}`, backing.sizeBytes);
  }
  requireNotTooLarge(`Snapshot ${snapshot} says that its disks have`, [...files.values()], largestBytes);
}

/** @param what as the beginning of a sentence: `The disks of guest debian have` @throws TooLarge */
export function requireNotTooLarge(what: string, sizesBytes: number[], largestBytes: number): void {
  const sizeBytes = sizesBytes.reduce((sum, size) => sum + size, 0);
  if (sizeBytes > largestBytes) throw new UmlsnapError('TooLarge', { what, sizeBytes, largestBytes });
}
