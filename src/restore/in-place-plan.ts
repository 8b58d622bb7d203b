import { UmlsnapError } from '../errors.js';
import type { ManifestDisk } from '../store/manifest.js';
import type { ManifestBacking } from '../store/stored-file.js';
import type { RestoreSource } from './restore-source.js';

export interface InPlaceTarget {
  device: string;
  /** The image or COW file to replace; it may be missing. */
  path: string;
  /** There exactly when the disk is COW. */
  backingPath?: string;
}

export interface InPlaceDisk {
  disk: ManifestDisk;
  path: string;
  backing: { path: string; stored: ManifestBacking } | null;
}

/**
 * Pairs the targets with the snapshot's disks. Some of the disks are enough; each must be of the kind that it was, and one
 * backing file can't be two. Pure.
 * @throws RestoreFailed
 */
export function planInPlace({ manifest }: RestoreSource, targets: InPlaceTarget[]): InPlaceDisk[] {
  const { snapshot } = manifest;
  const backings = new Map<string, ManifestBacking>();
  return targets.map(({ device, path, backingPath }) => {
    const refuse = (problem: string) => new UmlsnapError('RestoreFailed', { snapshot, path, problem });
    const disk = manifest.disks.find((one) => one.device === device);
    if (disk === undefined) throw refuse(`the snapshot has no ${device}`);
    if (disk.backing === undefined) {
      if (backingPath === undefined) return { disk, path, backing: null };
      throw refuse(`${device} has a backing file, and the snapshot holds it as a raw disk`);
    }
    if (backingPath === undefined)
      throw refuse(`${device} has no backing file, and the snapshot holds it as a COW file`);
    const other = backings.get(backingPath) ?? disk.backing;
    if (other.sha256 !== disk.backing.sha256 || other.mtime !== disk.backing.mtime) {
      throw refuse(`the snapshot's disks stand on different backing files, not all on ${backingPath}`);
    }
    backings.set(backingPath, disk.backing);
    return { disk, path, backing: { path: backingPath, stored: disk.backing } };
  });
}
