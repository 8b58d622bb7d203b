import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { directoriesIn, findIncomings } from './incoming.js';
import {
  backingDirectory,
  backingsLock,
  guestDirectory,
  isGuestDirectory,
  isSnapshotDirectory,
  type StorePlace,
  sha256OfBackingEntry,
} from './layout.js';
import { isSound, listSnapshots } from './stored-snapshots.js';
import { deleteTrash, trashFiles } from './trash.js';

/**
 * Removes the backing files that no snapshot needs any more. A file is one of these only when all that could need it was seen:
 * every snapshot of every guest, and nobody at work on a new one. Whoever makes a snapshot has its incoming directory from
 * before it looks for backing files until the snapshot is listed, and makes it under the lock that is held here: so whoever is
 * at work is seen, and whoever begins now waits, and then finds no file that is about to go.
 */

export interface BackingSweep {
  /** By their names in the store. */
  removed: string[];
  /** Why none could be removed, though some may be unneeded; null where nothing stands against it. */
  held: string | null;
}

export interface BackingSweepOptions {
  /** Tells, and changes nothing. */
  dryRun: boolean;
  /** Snapshots that are as good as gone. */
  without: ReadonlySet<string>;
}

const nothing: BackingSweep = { removed: [], held: null };

/** @throws what the filesystem says */
export async function sweepBackings(place: StorePlace, options: BackingSweepOptions): Promise<BackingSweep> {
  const look = await lookForUnneeded(place, options);
  if (look.held !== null || look.entries.length === 0) return outcome(look);
  if (options.dryRun) return outcome(look);
  return await withLocks(backingsLock(place), async () => {
    // Again: only what is found under the lock stays true.
    const found = await lookForUnneeded(place, options);
    if (found.held !== null) return outcome(found);
    await trashFiles(
      place,
      found.entries.map((entry) => join(backingDirectory(place), entry)),
    );
    await deleteTrash(place);
    return outcome(found);
  });
}

interface Look {
  /** In the store's backing directory: contents, notes, and notes that were cut short. */
  entries: string[];
  held: string | null;
}

function outcome({ entries, held }: Look): BackingSweep {
  if (held !== null) return { ...nothing, held };
  return { removed: entries.filter((entry) => entry.endsWith('.img')), held: null };
}

async function lookForUnneeded(place: StorePlace, { without }: BackingSweepOptions): Promise<Look> {
  const ours = await ownEntries(place);
  if (ours.length === 0) return { entries: [], held: null };
  const needed = await neededContents(place, without);
  if ('held' in needed) return { entries: [], held: needed.held };
  const entries = ours.filter((entry) => !needed.sha256s.has(sha256OfBackingEntry(entry) ?? ''));
  return { entries, held: null };
}

/** Regular files of our names; whatever else lies there is none of ours. */
async function ownEntries(place: StorePlace): Promise<string[]> {
  const directory = backingDirectory(place);
  const found = await lstat(directory).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!found?.isDirectory()) return [];
  return (await readdir(directory, { withFileTypes: true }))
    .filter((entry) => entry.isFile() && sha256OfBackingEntry(entry.name) !== undefined)
    .map(({ name }) => name)
    .sort();
}

async function neededContents(
  place: StorePlace,
  without: ReadonlySet<string>,
): Promise<{ sha256s: Set<string> } | { held: string }> {
  const [incoming] = await findIncomings(place);
  if (incoming) return { held: `job ${incoming.job} of guest ${incoming.guest} may be about to need one` };
  const link = await linkToSnapshots(place);
  if (link !== undefined) return { held: `${link} is a link, and snapshots behind it may need one` };
  const sha256s = new Set<string>();
  for (const stored of await listSnapshots(place)) {
    if (!isSound(stored)) return { held: `${stored.snapshot} is damaged, and may need one` };
    if (without.has(stored.snapshot)) continue;
    for (const { backing } of stored.manifest.disks) if (backing) sha256s.add(backing.sha256);
  }
  return { sha256s };
}

/** A guest or a snapshot that somebody has moved elsewhere, with a link in its place: we list neither. */
async function linkToSnapshots(place: StorePlace): Promise<string | undefined> {
  const places: [string, (name: string) => boolean][] = [[place.path, isGuestDirectory]];
  for (const guest of await directoriesIn(place.path, isGuestDirectory)) {
    places.push([guestDirectory(place, guest), isSnapshotDirectory]);
  }
  for (const [directory, isNamed] of places) {
    const entries = await readdir(directory, { withFileTypes: true });
    const link = entries.find((entry) => entry.isSymbolicLink() && isNamed(entry.name));
    if (link) return join(directory, link.name);
  }
  return undefined;
}
