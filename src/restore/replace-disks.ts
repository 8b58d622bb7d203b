import { link, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { renameToNewName, syncDirectory } from '../image/durable-file.js';
import type { StagedFile } from './staging.js';
import { requireUntouched, type TargetDisk } from './target-disk.js';

/** A staged file and what it takes the place of; null where nothing is. */
export interface Replacement {
  staged: StagedFile;
  taken: TargetDisk | null;
  /** Name that the replaced disk gets. */
  replacedPath: string;
}

/**
 * Puts the staged files in their places, all or none; the replaced disks stay, as `replacedPath`. For each disk, in this order:
 * the old one MUST have its second name, durably, before the new one takes the first, so that at every instant `path` is
 * either wholly the old disk or wholly the new one, and the old one has a name.
 * @returns once all of it is durable
 */
export async function replaceDisks(snapshot: string, replacements: Replacement[]): Promise<void> {
  const undo: Undo[] = [];
  try {
    for (const replacement of replacements) await replaceOne(snapshot, replacement, undo);
  } catch (error) {
    for (const step of undo.reverse()) await step();
    throw error;
  }
}

type Undo = () => Promise<void>;

async function replaceOne(
  snapshot: string,
  { staged, taken, replacedPath }: Replacement,
  undo: Undo[],
): Promise<void> {
  const { path, temporaryPath } = staged;
  if (taken === null) {
    await renameToNewName(temporaryPath, path);
    undo.push(() => rm(path, { force: true }));
  } else {
    await requireUntouched(snapshot, taken);
    await link(path, replacedPath);
    undo.push(async () => {
      await rename(replacedPath, path);
      // Two names of one file: then rename has done nothing, and the second name is still there.
      await rm(replacedPath, { force: true });
    });
    await syncDirectory(dirname(path));
    await rename(temporaryPath, path);
  }
  await syncDirectory(dirname(path));
}
