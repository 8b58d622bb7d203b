import { resolve } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import { HeldDirectory, pathOf } from '../path/held-directory.js';
import type { ManifestDisk } from '../store/manifest.js';
import { backingFile, diskFile } from '../store/stored-file.js';
import { type DirectoryNames, directoryNames } from './directory-names.js';
import type { RestoredDisk, RestoreOptions, RestoreSource } from './restore-source.js';
import { requirePlaced, restoreFailed, type StagedFile, type Staging, withStaging } from './staging.js';

export interface ToDirectoryOptions extends RestoreOptions {
  /** Each COW disk becomes the raw image that its two files make together. */
  merge?: boolean;
}

/**
 * Restores all disks of a snapshot into a directory, which is made if need be. Checksums are verified while it copies; files
 * get their names only once all of them are whole and durable.
 * @returns once the names are durable
 * @throws TargetExists, SnapshotDamaged, NoCowPair, RestoreFailed, or the signal's reason: then nothing of it is left
 */
export async function restoreToDirectory(
  source: RestoreSource,
  directory: string,
  options: ToDirectoryOptions,
): Promise<RestoredDisk[]> {
  const { snapshot } = source.manifest;
  const target = resolve(directory);
  const names = directoryNames(source.manifest, options.merge ?? false);
  try {
    const held = await HeldDirectory.open(target, { make: true });
    try {
      held.onlyStranger();
      await refuseExisting(held, names);
      return await withStaging(options, async (staging) => {
        const disks = await stageDisks(source, names, held, staging);
        await placeAll(disks.flatMap(({ staged }) => staged));
        await held.sync();
        return disks.map(({ restored }) => restored);
      });
    } finally {
      await held.close();
    }
  } catch (error) {
    throw restoreFailed(snapshot, target, error);
  }
}

interface StagedDisk {
  restored: RestoredDisk;
  staged: StagedFile[];
}

async function stageDisks(
  source: RestoreSource,
  names: DirectoryNames[],
  directory: HeldDirectory,
  staging: Staging,
): Promise<StagedDisk[]> {
  const disks: StagedDisk[] = [];
  const stagedBackings = new Set<string>();
  for (const [index, disk] of source.manifest.disks.entries()) {
    const name = names[index];
    if (name === undefined) throw new UmlsnapError('Internal', { problem: `no name for ${disk.device}` });
    const place = { directory, name: name.disk };
    if (disk.backing && name.backing === null) {
      const pair = { cow: diskFile(source, disk), backing: backingFile(source, disk.backing) };
      const image = await staging.stageMerged(pair, place, { mode: 0o600 });
      disks.push({ restored: toMerged(disk.device, image, disk.backing.sizeBytes), staged: [image] });
      continue;
    }
    const file = await staging.stage(diskFile(source, disk), place, { mode: 0o600 });
    const staged = [file];
    const backing = name.backing === null ? null : { directory, name: name.backing };
    if (disk.backing && backing !== null && !stagedBackings.has(backing.name)) {
      const mtime = new Date(disk.backing.mtime);
      const look = { mode: 0o600, mtime };
      staged.push(await staging.stage(backingFile(source, disk.backing), backing, look));
      stagedBackings.add(backing.name);
    }
    disks.push({ restored: toRestored(disk, file, backing && pathOf(backing)), staged });
  }
  return disks;
}

function toRestored(disk: ManifestDisk, file: StagedFile, backingPath: string | null): RestoredDisk {
  const { device, kind, sizeBytes } = disk;
  const backing = backingPath === null ? null : { path: backingPath, state: 'restored' as const };
  return {
    device,
    kind,
    path: pathOf(file.place),
    sizeBytes,
    dataBytes: file.dataBytes,
    backing,
    merged: false,
    replacedPath: null,
  };
}

function toMerged(device: string, { place, dataBytes }: StagedFile, sizeBytes: number): RestoredDisk {
  const file = { path: pathOf(place), sizeBytes, dataBytes };
  return { device, kind: 'raw', ...file, backing: null, merged: true, replacedPath: null };
}

/** Gives the files their names, all of them or none. */
async function placeAll(files: StagedFile[]): Promise<void> {
  const placed: StagedFile[] = [];
  try {
    for (const file of files) {
      await file.place.directory.renameToNew(file.temporaryName, file.place.name);
      placed.push(file);
      await requirePlaced(file);
    }
  } catch (error) {
    for (const { place } of placed) await place.directory.unlink(place.name);
    const taken = files[placed.length];
    if (errnoOf(error) === 'EEXIST' && taken)
      throw new UmlsnapError('TargetExists', { path: pathOf(taken.place) }, error);
    throw error;
  }
}

/** A symlink that leads nowhere is there as well. */
async function refuseExisting(directory: HeldDirectory, names: DirectoryNames[]): Promise<void> {
  for (const name of names.flatMap(({ disk, backing }) => (backing === null ? [disk] : [disk, backing]))) {
    if ((await directory.stat(name)) === null) continue;
    throw new UmlsnapError('TargetExists', { path: pathOf({ directory, name }) });
  }
}
