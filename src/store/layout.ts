import { join } from 'node:path';
import { UmlsnapError } from '../errors.js';

/**
 * Where everything lies in a directory store:
 *
 *     STORE/.umlsnap-store                        proves that the store is mounted
 *     STORE/GUEST/20261121T031500Z/manifest.json  a snapshot, with its disks beside the manifest
 *     STORE/GUEST/.incoming-JOB/                  a snapshot in the making, never listed
 *     STORE/.backing/SHA256.img                   backing files, once each; SHA256.json remembers where they came from
 *     STORE/.trash/                               what is being removed
 *     STORE/.scratch/                             private copies of a verification, while it is at work
 *
 * Names of guests and jobs never begin with a dot, so that nothing of theirs can meet what is ours.
 */

export interface StorePlace {
  /** As the config calls it. */
  name: string;
  /** Absolute. */
  path: string;
}

const incomingPrefix = '.incoming-';
const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const snapshotDirectoryName = /^\d{8}T\d{6}Z(?:-\d{1,3})?$/;
const trashName = /^[A-Za-z0-9][A-Za-z0-9._-]*@\d{8}T\d{6}Z(?:-\d{1,3})?\.[0-9a-f]{8}$/;

export const manifestName = 'manifest.json';

export const markerPath = (place: StorePlace) => join(place.path, '.umlsnap-store');
export const backingDirectory = (place: StorePlace) => join(place.path, '.backing');
export const scratchDirectory = (place: Pick<StorePlace, 'path'>) => join(place.path, '.scratch');
export const trashDirectory = (place: StorePlace) => join(place.path, '.trash');

/** @throws Internal for a name that could lead elsewhere */
export function guestDirectory(place: StorePlace, guest: string): string {
  return join(place.path, requirePlainName(guest));
}

/** @throws Internal for a name that could lead elsewhere */
export function incomingDirectory(place: StorePlace, guest: string, job: string): string {
  return join(guestDirectory(place, guest), `${incomingPrefix}${requirePlainName(job)}`);
}

/** The job whose snapshot in the making this directory is; undefined for any other directory. */
export function jobOfIncoming(entry: string): string | undefined {
  const job = entry.startsWith(incomingPrefix) ? entry.slice(incomingPrefix.length) : '';
  return plainName.test(job) ? job : undefined;
}

export interface SnapshotName {
  guest: string;
  /** `20261121T031500Z`, or `latest` */
  directory: string;
}

/** Splits `guest@20261121T031500Z` or `guest@latest`; undefined for what can't be a snapshot's name. */
export function splitSnapshotName(snapshot: string): SnapshotName | undefined {
  const at = snapshot.lastIndexOf('@');
  const guest = snapshot.slice(0, Math.max(at, 0));
  const directory = snapshot.slice(at + 1);
  if (!plainName.test(guest)) return undefined;
  return directory === 'latest' || isSnapshotDirectory(directory) ? { guest, directory } : undefined;
}

export const isPlainName = (name: string) => plainName.test(name);
export const isGuestDirectory = (entry: string) => plainName.test(entry);
export const isSnapshotDirectory = (entry: string) => snapshotDirectoryName.test(entry);
/** Ours to delete: only what a removal has put there. */
export const isTrash = (entry: string) => trashName.test(entry);

/** @throws Internal */
export function requirePlainName(name: string): string {
  if (plainName.test(name)) return name;
  throw new UmlsnapError('Internal', { problem: `${JSON.stringify(name)} can't be a name in a store` });
}
