import { basename } from 'node:path';
import type { Manifest } from '../store/manifest.js';

export interface DirectoryNames {
  device: string;
  /** `ubd0.img`, `ubd0.cow` */
  disk: string;
  /** The backing file's original name, null for a raw disk. */
  backing: string | null;
}

/**
 * The names of a snapshot's files in a directory that it is restored to. A backing file keeps its own name, unless that can't
 * be a plain one or another file of the restore has it: then it is `ubd0.backing`. Disks that share a backing file share its
 * name. Disks that are merged are raw, and have none. Pure.
 */
export function directoryNames({ disks }: Manifest, isMerged: boolean): DirectoryNames[] {
  if (isMerged) return disks.map(({ device }) => ({ device, disk: diskName(device, 'raw'), backing: null }));
  const taken = new Set(disks.map(({ device, kind }) => diskName(device, kind)));
  const byContent = new Map<string, string>();
  return disks.map(({ device, kind, backing }) => {
    const disk = diskName(device, kind);
    if (backing === undefined) return { device, disk, backing: null };
    // Another mtime is another file to UML.
    const identity = `${backing.sha256} ${backing.mtime}`;
    const own = plainName(backing.sourcePath);
    const name = byContent.get(identity) ?? (own === null || taken.has(own) ? `${device}.backing` : own);
    byContent.set(identity, name);
    taken.add(name);
    return { device, disk, backing: name };
  });
}

function diskName(device: string, kind: 'raw' | 'cow'): string {
  return `${device}.${kind === 'raw' ? 'img' : 'cow'}`;
}

/** The manifest's paths came from a guest: only a name that can neither lead away nor confuse a terminal is used. */
function plainName(sourcePath: string): string | null {
  const name = basename(sourcePath);
  return /^[\p{L}\p{N}_][\p{L}\p{N}_.+@ -]{0,199}$/u.test(name) ? name : null;
}
