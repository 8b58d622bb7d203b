import { basename, dirname } from 'node:path';
import { UmlsnapError } from '../errors.js';
import { HeldDirectory, type Place, pathOf } from '../path/held-directory.js';
import { backingFile, diskFile } from '../store/stored-file.js';
import { findBacking } from './backing-in-place.js';
import { type InPlaceDisk, type InPlaceTarget, planInPlace } from './in-place-plan.js';
import { type Replacement, replaceDisks, replacedPathOf } from './replace-disks.js';
import type { RestoredDisk, RestoreOptions, RestoreSource } from './restore-source.js';
import { about, requirePlaced, type StagedFile, type Staging, withStaging } from './staging.js';
import { type TargetDisk, takeTargetDisk } from './target-disk.js';
import { replacedName } from './temporary-name.js';

export interface InPlaceOptions extends RestoreOptions {
  /** Leave the replaced disks as `PATH.before-restore-<time>`; otherwise they are removed once the restore is durable. */
  keepReplaced: boolean;
  /** For the names of the replaced disks. */
  now: Date;
}

/** A disk on its way: what is there now, its new content, and the backing file if that is missing. */
interface Work {
  planned: InPlaceDisk;
  replacement: Replacement;
  backing: { path: string; staged: StagedFile | null } | null;
}

/**
 * Puts a snapshot's disks back where the guest has them. Refused while any process has such a disk open or locked; a guest
 * that boots meanwhile meets our lock. All disks are whole, verified and durable beside the old ones before the first
 * is replaced; a failure or a kill at any instant leaves each path wholly old or wholly new, and the old one in existence.
 * The new file has the old one's owner and mode, but no further attributes of it.
 * @throws TargetInUse, TargetExists, SnapshotDamaged, RestoreFailed, or the signal's reason: then the old disks are in place
 */
export async function restoreInPlace(
  source: RestoreSource,
  targets: InPlaceTarget[],
  options: InPlaceOptions,
): Promise<RestoredDisk[]> {
  const { snapshot } = source.manifest;
  const plan = planInPlace(source, targets);
  const taken = new Map<string, TargetDisk>();
  const places = new Map<string, Place>();
  try {
    // Each once: disks may share a backing file, and all that is held is closed.
    for (const path of new Set(
      plan.flatMap(({ path, backing }) => (backing ? [path, backing.path] : [path])),
    ))
      places.set(path, await about(snapshot, path, () => placeOf(path)));
    for (const { path } of plan) {
      const disk = await about(snapshot, path, () => takeTargetDisk(snapshot, placed(places, path)));
      if (disk) taken.set(path, disk);
    }
    return await withStaging(options, async (staging) => {
      const works = await stageAll(source, plan, places, taken, staging, options);
      options.signal.throwIfAborted();
      return await placeAll(snapshot, works, options);
    });
  } finally {
    for (const disk of taken.values()) await disk.handle.close();
    for (const { directory } of places.values()) await directory.close();
  }
}

async function placeOf(path: string): Promise<Place> {
  return { directory: await HeldDirectory.open(dirname(path)), name: basename(path) };
}

function placed(places: Map<string, Place>, path: string): Place {
  const place = places.get(path);
  if (place === undefined) throw new UmlsnapError('Internal', { problem: `no place for ${path}` });
  return place;
}

async function stageAll(
  source: RestoreSource,
  plan: InPlaceDisk[],
  places: Map<string, Place>,
  taken: Map<string, TargetDisk>,
  staging: Staging,
  options: InPlaceOptions,
): Promise<Work[]> {
  const backings = await stageBackings(source, plan, places, staging, options);
  const works: Work[] = [];
  for (const planned of plan) {
    const { disk, path } = planned;
    const old = taken.get(path) ?? null;
    // A disk that was lost has nobody to inherit from: closed to all but us.
    const look = old === null ? { mode: 0o600 } : { mode: old.mode, owner: old.owner };
    const place = placed(places, path);
    const staged = await about(source.manifest.snapshot, path, () =>
      staging.stage(diskFile(source, disk), place, look),
    );
    const backing = planned.backing && {
      path: planned.backing.path,
      staged: backings.get(planned.backing.path) ?? null,
    };
    works.push({
      planned,
      replacement: { staged, taken: old, replacedName: replacedName(place.name, options.now) },
      backing,
    });
  }
  return works;
}

/** Those that are missing, once each: disks may share one. First of all, since a different one ends the restore. */
async function stageBackings(
  source: RestoreSource,
  plan: InPlaceDisk[],
  places: Map<string, Place>,
  staging: Staging,
  options: InPlaceOptions,
): Promise<Map<string, StagedFile>> {
  const { snapshot } = source.manifest;
  const staged = new Map<string, StagedFile>();
  for (const { backing } of plan) {
    if (backing === null || staged.has(backing.path)) continue;
    const { path, stored } = backing;
    await about(snapshot, path, async () => {
      const place = placed(places, path);
      if ((await findBacking(snapshot, place, stored, options)) === 'there') return;
      const look = { mode: 0o600, mtime: new Date(stored.mtime) };
      staged.set(path, await staging.stage(backingFile(source, stored), place, look));
    });
  }
  return staged;
}

async function placeAll(snapshot: string, works: Work[], options: InPlaceOptions): Promise<RestoredDisk[]> {
  // Before the COW files: without what they stand on they are nothing.
  const backings = new Map(
    works.flatMap(({ backing }) => (backing?.staged ? [[backing.path, backing.staged]] : [])),
  );
  for (const staged of backings.values()) {
    const { directory, name } = staged.place;
    await about(snapshot, pathOf(staged.place), async () => {
      await directory.renameToNew(staged.temporaryName, name);
      await requirePlaced(staged);
      await directory.sync();
    });
  }
  const replacements = works.map(({ replacement }) => replacement);
  await about(snapshot, works[0]?.planned.path ?? '', () => replaceDisks(snapshot, replacements));
  // Only now, when all that replaces them is durable.
  if (!options.keepReplaced) await removeReplaced(snapshot, replacements);
  return works.map((work) => toRestored(work, options.keepReplaced));
}

async function removeReplaced(snapshot: string, replacements: Replacement[]): Promise<void> {
  for (const replacement of replacements) {
    const { directory } = replacement.staged.place;
    if (replacement.taken === null) continue;
    await about(snapshot, replacedPathOf(replacement), async () => {
      await directory.unlink(replacement.replacedName);
      await directory.sync();
    });
  }
}

function toRestored({ planned, replacement, backing }: Work, keepReplaced: boolean): RestoredDisk {
  const { device, kind, sizeBytes } = planned.disk;
  const { staged, taken } = replacement;
  return {
    device,
    kind,
    path: planned.path,
    sizeBytes,
    dataBytes: staged.dataBytes,
    backing: backing && { path: backing.path, state: backing.staged ? 'restored' : 'unchanged' },
    merged: false,
    replacedPath: taken !== null && keepReplaced ? replacedPathOf(replacement) : null,
  };
}
