import { pathOf } from '../path/held-directory.js';
import { requirePlaced, type StagedFile } from './staging.js';
import { requireUntouched, type TargetDisk } from './target-disk.js';

/** A staged file and what it takes the place of; null where nothing is. */
export interface Replacement {
  staged: StagedFile;
  taken: TargetDisk | null;
  /** That the replaced disk gets, in the same directory. */
  replacedName: string;
}

/** For words: where the replaced disk is. */
export const replacedPathOf = ({ staged, replacedName }: Replacement): string =>
  pathOf({ ...staged.place, name: replacedName });

/**
 * Puts the staged files in their places, all or none; the replaced disks stay, as `replacedName`. For each disk, in this order:
 * the old one MUST have its second name, durably, before the new one takes the first, so that at every instant its path is
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
  { staged, taken, replacedName }: Replacement,
  undo: Undo[],
): Promise<void> {
  const { directory, name } = staged.place;
  if (taken === null) {
    await directory.renameToNew(staged.temporaryName, name);
    undo.push(() => directory.unlink(name));
  } else {
    await requireUntouched(snapshot, taken);
    await directory.link(name, replacedName);
    undo.push(async () => {
      await directory.rename(replacedName, name);
      // Two names of one file: then rename has done nothing, and the second name is still there.
      await directory.unlink(replacedName);
    });
    await directory.sync();
    await directory.rename(staged.temporaryName, name);
  }
  await requirePlaced(staged);
  await directory.sync();
}
