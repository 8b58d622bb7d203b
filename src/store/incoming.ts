import type { Dirent } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { ensureDirectory } from '../image/durable-file.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { withDirectoryOf } from '../path/held-directory.js';
import {
  backingsLock,
  guestDirectory,
  incomingDirectory,
  isGuestDirectory,
  jobOfIncoming,
  requirePlainName,
  type StorePlace,
} from './layout.js';

/** What lies in a store under a name that no list shows. */
export interface FoundIncoming {
  readonly guest: string;
  readonly job: string;
  readonly directory: string;
}

/** A snapshot in the making: a directory that no list shows, on the store's own filesystem. */
export interface Incoming extends FoundIncoming {
  /** Where a file of the snapshot is to be written. */
  pathOf(file: string): string;
}

/** MUST come before backing files are looked for: whoever removes those sees who may need them by this directory. */
export async function makeIncoming(place: StorePlace, guest: string, job: string): Promise<Incoming> {
  const incoming = incomingOf(place, guest, job);
  await ensureDirectory(guestDirectory(place, guest));
  await withLocks(backingsLock(place), () => mkdir(incoming.directory, { mode: 0o700 }));
  return incoming;
}

/** By descriptors: whoever serves the share that the store is on could lead us elsewhere meanwhile. */
export async function discardIncoming(incoming: FoundIncoming): Promise<void> {
  await withDirectoryOf(incoming.directory, (guest, name) => guest.removeTree(name)).catch(
    (error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    },
  );
}

/** Every incoming copy in the store, whoever works on it; never follows a link. */
export async function findIncomings(place: StorePlace): Promise<Incoming[]> {
  const found: Incoming[] = [];
  for (const guest of await directoriesIn(place.path, isGuestDirectory)) {
    const entries = await directoriesIn(
      guestDirectory(place, guest),
      (name) => jobOfIncoming(name) !== undefined,
    );
    for (const entry of entries) found.push(incomingOf(place, guest, jobOfIncoming(entry) ?? ''));
  }
  return found;
}

function incomingOf(place: StorePlace, guest: string, job: string): Incoming {
  const directory = incomingDirectory(place, guest, job);
  return { guest, job, directory, pathOf: (file) => join(directory, requirePlainName(file)) };
}

/** Names of the real directories in a directory, sorted; files and links are not ours. */
export async function directoriesIn(path: string, wanted: (name: string) => boolean): Promise<string[]> {
  const entries: Dirent[] = await readdir(path, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && wanted(entry.name))
    .map((entry) => entry.name)
    .sort();
}
