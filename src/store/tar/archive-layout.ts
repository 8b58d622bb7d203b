import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compression } from '../../config/store-config.js';
import { errnoOf } from '../../errors.js';
import { type StorePlace, guestDirectory, isSnapshotDirectory, splitSnapshotName } from '../layout.js';
import { type Owner, ownerSchema } from '../manifest.js';

/**
 * Where everything lies in a store of archives:
 *
 *     STORE/.umlsnap-store                       proves that the store is mounted
 *     STORE/GUEST/20261121T031500Z.tar.zst       a snapshot, all of it: .tar.gz and .tar too
 *     STORE/GUEST/20261121T031500Z.pinned        empty: the snapshot is pinned, whatever its manifest says; .unpinned: it isn't
 *     STORE/GUEST/20261121T031500Z.owner=ID@HOST empty: whose it is, whatever its manifest says
 *     STORE/GUEST/.incoming-RANDOM               a snapshot in the making, never listed
 *     STORE/.trash/                              what is being removed
 */

const extensions: Record<Compression, string> = { zstd: '.tar.zst', gzip: '.tar.gz', none: '.tar' };
/** The first one counts where somebody has put two of one name. */
const compressions: Compression[] = ['zstd', 'gzip', 'none'];

const anyMark = /^([^.]+)\.(?:pinned|unpinned|owner=.*)$/;
const ownerMark = /^([^.]+)\.owner=([^@]+)@(.+)$/;

export const incomingPrefix = '.incoming-';

/** What a guest's part of the store holds of one snapshot. */
export interface FoundArchive {
  guest: string;
  /** `20261121T031500Z` */
  name: string;
  path: string;
  compression: Compression;
  /** What was said after it was written; null when nothing was. */
  pinned: boolean | null;
  /** What was said after it was written. */
  owner: Owner | undefined;
}

export function archivePath(
  place: StorePlace,
  guest: string,
  name: string,
  compression: Compression,
): string {
  return join(guestDirectory(place, guest), `${name}${extensions[compression]}`);
}

/** Of an archive's path. */
export function compressionOfPath(path: string): Compression {
  return compressions.find((compression) => path.endsWith(extensions[compression])) ?? 'none';
}

export function pinMarkPath(place: StorePlace, guest: string, name: string, pinned: boolean): string {
  return join(guestDirectory(place, guest), `${name}${pinned ? '.pinned' : '.unpinned'}`);
}

export function ownerMarkPath(place: StorePlace, guest: string, name: string, { id, host }: Owner): string {
  return join(guestDirectory(place, guest), `${name}.owner=${id}@${host}`);
}

/** The marks of one archive, those that count first. */
export async function findMarks(
  place: StorePlace,
  guest: string,
  name: string,
): Promise<{ pins: string[]; owners: string[] }> {
  const directory = guestDirectory(place, guest);
  const entries = await entriesOf(directory);
  const pins = ['.pinned', '.unpinned'].map((end) => `${name}${end}`).filter((entry) => entries.has(entry));
  const owners = ownerMarksOf(entries).get(name) ?? [];
  return {
    pins: pins.map((entry) => join(directory, entry)),
    owners: owners.map(({ entry }) => join(directory, entry)),
  };
}

/** A guest's archives, newest first; whatever else lies there (directories, links, other names) is none of ours. */
export async function findArchives(place: StorePlace, guest: string): Promise<FoundArchive[]> {
  const entries = await entriesOf(guestDirectory(place, guest));
  const archives = new Map<string, FoundArchive>();
  const owners = ownerMarksOf(entries);
  for (const compression of compressions) {
    for (const entry of entries) {
      const name = entry.endsWith(extensions[compression])
        ? entry.slice(0, -extensions[compression].length)
        : '';
      if (!isSnapshotDirectory(name) || archives.has(name)) continue;
      const path = archivePath(place, guest, name, compression);
      const owner = owners.get(name)?.[0]?.owner;
      archives.set(name, { guest, name, path, compression, pinned: pinOf(entries, name), owner });
    }
  }
  return [...archives.values()].sort((a, b) => (a.name < b.name ? 1 : -1));
}

/** Where somebody has put both marks: what is pinned is not removed. */
function pinOf(entries: Set<string>, name: string): boolean | null {
  if (entries.has(`${name}.pinned`)) return true;
  return entries.has(`${name}.unpinned`) ? false : null;
}

/** The size of a snapshot's archive; undefined where there is none. */
export async function archiveBytes(place: StorePlace, snapshot: string): Promise<number | undefined> {
  const { guest = '', directory = '' } = splitSnapshotName(snapshot) ?? {};
  for (const compression of compressions) {
    try {
      return (await lstat(archivePath(place, guest, directory, compression))).size;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
  return undefined;
}

/** By the names of archives; of several the first counts, in the order of their names: for whoever looks the same. */
function ownerMarksOf(entries: Set<string>): Map<string, { entry: string; owner: Owner }[]> {
  const marks = new Map<string, { entry: string; owner: Owner }[]>();
  for (const entry of [...entries].sort()) {
    const [, name = '', id, host] = ownerMark.exec(entry) ?? [];
    const owner = ownerSchema.safeParse({ id, host });
    if (owner.success) marks.set(name, [...(marks.get(name) ?? []), { entry, owner: owner.data }]);
  }
  return marks;
}

/** What a killed one has left, and what is being made: also marks of an archive that is gone. */
export async function findIncoming(place: StorePlace, guest: string): Promise<string[]> {
  const entries = await entriesOf(guestDirectory(place, guest));
  const names = new Set((await findArchives(place, guest)).map(({ name }) => name));
  const isOfNone = (entry: string) => {
    const [, name = ''] = anyMark.exec(entry) ?? [];
    return isSnapshotDirectory(name) && !names.has(name);
  };
  return [...entries]
    .filter((entry) => entry.startsWith(incomingPrefix) || isOfNone(entry))
    .map((entry) => join(guestDirectory(place, guest), entry));
}

async function entriesOf(directory: string): Promise<Set<string>> {
  try {
    // A link in the place of a guest leads to what is none of ours.
    if (!(await lstat(directory)).isDirectory()) return new Set();
    const entries = await readdir(directory, { withFileTypes: true });
    return new Set(entries.filter((entry) => entry.isFile()).map((entry) => entry.name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return new Set();
    throw error;
  }
}
