import { join } from 'node:path';
import type { Config } from '../src/config/config.js';
import type { CopyDeps } from '../src/copies/ask-stores.js';
import { type FoundCopy, readingCopy } from '../src/copies/find-copy.js';
import type { UmlsnapError } from '../src/errors.js';
import { extractTree } from '../src/files/extract-tree.js';
import { findFile } from '../src/files/find-file.js';
import { type FilesOptions, withExtImage } from '../src/files/with-ext-image.js';
import { type JobHistory, type JobSummary, recordedIfPossible } from '../src/job/recorded-job.js';
import type { ScratchPlaces } from '../src/restore/filesystems/check-disks.js';
import type { RestoreSource } from '../src/restore/restore-source.js';
import { scratchDirectory } from '../src/store/layout.js';
import type { Store } from '../src/store/store.js';
import { backingFile, checkStoredFile, diskFile } from '../src/store/stored-file.js';

export interface RestoreFilesOrder {
  found: FoundCopy;
  deps: CopyDeps;
  source: RestoreSource;
  /** As the guest calls it, with or without its first slash. */
  path: string;
  /** Absolute. */
  directory: string;
  files: FilesOptions;
}

/**
 * Brings files of a snapshot back, out of the filesystem on one of its disks:
 * 1. the job stands in the history, if there is one;
 * 2. every byte of the disk is held against its checksum;
 * 3. the files are read out of a private copy, and get their name once all of them are there and durable.
 * @param history an error in its place says why there is none
 */
export async function restoreFiles(
  { found, deps, source, path, directory, files }: RestoreFilesOrder,
  history: JobHistory | UmlsnapError,
): Promise<JobSummary> {
  const { snapshot, guest } = source.manifest;
  const { device, signal } = files;
  return await recordedIfPossible(history, { kind: 'restore', guest, trigger: 'manual' }, async (run) => {
    const { passedOver } = found;
    run.facts = { snapshot, store: found.store.name, passedOver, disk: device, path };
    await readingCopy(deps, found, () => requireSound(source, device, signal));
    await withExtImage(source, files, async ({ image, warnings }) => {
      run.warnings.push(...warnings);
      const top = await findFile(image, path, { snapshot, device });
      const isRoot = top.name.equals(Buffer.from('/'));
      // Of the whole filesystem: it has no name of its own.
      const name = isRoot ? device : top.name.toString('utf8');
      const extracted = await extractTree({ snapshot, image, top, name, directory, signal });
      const { warnings: leftOut, ...facts } = extracted;
      run.warnings.push(...leftOut);
      Object.assign(run.facts, { restored: facts });
    });
  });
}

/** @throws SnapshotDamaged */
async function requireSound(source: RestoreSource, device: string, signal: AbortSignal): Promise<void> {
  const disk = source.manifest.disks.find((one) => one.device === device);
  if (!disk) return;
  await checkStoredFile(diskFile(source, disk), { signal });
  if (disk.backing) await checkStoredFile(backingFile(source, disk.backing), { signal });
}

/** Where private copies are made for files of a snapshot in this store. */
export function filesPlaces(store: Pick<Store, 'type' | 'name' | 'path'>, config: Config): ScratchPlaces {
  const beside =
    store.type === 'directory' ? { directory: store.path, scratch: scratchDirectory(store) } : null;
  return { configured: config.verify.scratch, beside, otherwise: join(config.state, 'scratch') };
}
