import { lstat, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import { ensureDirectories, renameToNewName, syncDirectory } from '../image/durable-file.js';
import type { ManifestDisk } from '../store/manifest.js';
import { backingFile, diskFile } from '../store/stored-file.js';
import { type DirectoryNames, directoryNames } from './directory-names.js';
import type { RestoredDisk, RestoreOptions, RestoreSource } from './restore-source.js';
import { restoreFailed, type StagedFile, type Staging, withStaging } from './staging.js';

/**
 * Restores all disks of a snapshot into a directory, which is made if need be. Checksums are verified while it copies; files
 * get their names only once all of them are whole and durable.
 * @returns once the names are durable
 * @throws TargetExists, SnapshotDamaged, RestoreFailed, or the signal's reason: then nothing of it is left
 */
export async function restoreToDirectory(
  source: RestoreSource,
  directory: string,
  options: RestoreOptions,
): Promise<RestoredDisk[]> {
  const { snapshot } = source.manifest;
  const target = resolve(directory);
  const names = directoryNames(source.manifest);
  try {
    for (const path of pathsOf(names, target)) await refuseExisting(path);
    await ensureDirectories(target);
    return await withStaging(options, async (staging) => {
      const disks = await stageDisks(source, names, target, staging);
      await placeAll(disks.flatMap(({ staged }) => staged));
      await syncDirectory(target);
      return disks.map(({ restored }) => restored);
    });
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
  directory: string,
  staging: Staging,
): Promise<StagedDisk[]> {
  const disks: StagedDisk[] = [];
  const stagedBackings = new Set<string>();
  for (const [index, disk] of source.manifest.disks.entries()) {
    const name = names[index];
    if (name === undefined) throw new UmlsnapError('Internal', { problem: `no name for ${disk.device}` });
    const path = join(directory, name.disk);
    const file = await staging.stage(diskFile(source, disk), path, { mode: 0o600 });
    const staged = [file];
    const backingPath = name.backing === null ? null : join(directory, name.backing);
    if (disk.backing && backingPath !== null && !stagedBackings.has(backingPath)) {
      const mtime = new Date(disk.backing.mtime);
      const look = { mode: 0o600, mtime };
      staged.push(await staging.stage(backingFile(source, disk.backing), backingPath, look));
      stagedBackings.add(backingPath);
    }
    disks.push({ restored: toRestored(disk, file, backingPath), staged });
  }
  return disks;
}

function toRestored(disk: ManifestDisk, file: StagedFile, backingPath: string | null): RestoredDisk {
  const { device, kind, sizeBytes } = disk;
  const backing = backingPath === null ? null : { path: backingPath, state: 'restored' as const };
  return { device, kind, path: file.path, sizeBytes, dataBytes: file.dataBytes, backing, replacedPath: null };
}

/** Gives the files their names, all of them or none. */
async function placeAll(files: StagedFile[]): Promise<void> {
  const placed: string[] = [];
  try {
    for (const { temporaryPath, path } of files) {
      await renameToNewName(temporaryPath, path);
      placed.push(path);
    }
  } catch (error) {
    for (const path of placed) await rm(path, { force: true });
    const taken = files[placed.length];
    if (errnoOf(error) === 'EEXIST' && taken)
      throw new UmlsnapError('TargetExists', { path: taken.path }, error);
    throw error;
  }
}

function pathsOf(names: DirectoryNames[], directory: string): string[] {
  return names.flatMap(({ disk, backing }) =>
    (backing === null ? [disk] : [disk, backing]).map((name) => join(directory, name)),
  );
}

/** lstat: a symlink that leads nowhere is there as well. */
async function refuseExisting(path: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw new UmlsnapError('TargetExists', { path });
}
