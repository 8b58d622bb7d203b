import { join } from 'node:path';
import { UmlsnapError } from '../errors.js';
import type { LockRequest } from '../locks/exclusive-lock.js';
import type { Lock } from '../locks/lock.js';

/**
 * Where everything lies in a directory store:
 *
 *     STORE/.umlsnap-store                        proves that the store is mounted
 *     STORE/GUEST/20261121T031500Z/manifest.json  a snapshot, with its disks beside the manifest
 *     STORE/GUEST/.incoming-JOB/                  a snapshot in the making, never listed
 *     STORE/.backing/SHA256.img                   backing files, once each; SHA256.json remembers where they came from
 *     STORE/.trash/                               what is being removed
 *     STORE/.locks/                               what its jobs lock, of whatever host or state they are
 *     STORE/.scratch/                             private copies of a verification, while it is at work
 *
 * Names of guests and jobs never begin with a dot, so that nothing of theirs can meet what is ours.
 */

export interface StorePlace {
  /** As the config calls it. */
  name: string;
  /** Absolute. */
  path: string;
  /** The directories above it are ours to make as well; elsewhere they would be those of a filesystem that is not mounted. */
  makesParents?: boolean;
}

const incomingPrefix = '.incoming-';
const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const snapshotDirectoryName = /^\d{8}T\d{6}Z(?:-\d{1,3})?$/;
const trashedSnapshot = /^[A-Za-z0-9][A-Za-z0-9._-]*@\d{8}T\d{6}Z(?:-\d{1,3})?\.[0-9a-f]{8}$/;
const backingEntry = /^(?:([0-9a-f]{64})\.(?:img|json)|\.([0-9a-f]{64})\.[0-9a-f]{8})$/;

export const manifestName = 'manifest.json';

export const markerPath = (place: Pick<StorePlace, 'path'>) => join(place.path, '.umlsnap-store');
export const backingDirectory = (place: StorePlace) => join(place.path, '.backing');
const lockDirectory = (place: Pick<StorePlace, 'path'>) => join(place.path, '.locks');
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
  /** `20261121T031500Z` */
  directory: string;
}

/** The guest's part of a snapshot's name; empty where there is none. */
export const guestInName = (snapshot: string) => snapshot.slice(0, Math.max(0, snapshot.lastIndexOf('@')));

/** Splits `guest@20261121T031500Z`; undefined for what can't be a snapshot's name, as `guest@latest`, which is not one. */
export function splitSnapshotName(snapshot: string): SnapshotName | undefined {
  const at = snapshot.lastIndexOf('@');
  const guest = snapshot.slice(0, Math.max(at, 0));
  const directory = snapshot.slice(at + 1);
  if (!plainName.test(guest)) return undefined;
  return isSnapshotDirectory(directory) ? { guest, directory } : undefined;
}

export const isPlainName = (name: string) => plainName.test(name);
export const isGuestDirectory = (entry: string) => plainName.test(entry);
export const isSnapshotDirectory = (entry: string) => snapshotDirectoryName.test(entry);
/** The content that a file in the backing directory belongs to: itself, its note, or a note that was cut short. */
export function sha256OfBackingEntry(entry: string): string | undefined {
  const [, content, cutShort] = backingEntry.exec(entry) ?? [];
  return content ?? cutShort;
}
/** What a manifest was to be replaced by, when that was cut short. */
export const isManifestLeftover = (entry: string) => /^manifest\.json\.[0-9a-f]{8}$/.test(entry);
/** Names that a removal gives to a snapshot's directory. */
export const isTrashedSnapshot = (entry: string) => trashedSnapshot.test(entry);
/** Names that a removal gives to a file that lay in the backing directory. */
export const isTrashedFile = (entry: string) =>
  /\.[0-9a-f]{8}$/.test(entry) && sha256OfBackingEntry(entry.slice(0, -9)) !== undefined;

/**
 * Held while backing files are removed, and for the instant in which a snapshot in the making gets its directory: between
 * the two nothing that is about to be needed is found unneeded.
 */
export function backingsLock(place: StorePlace): LockRequest {
  const what = `The backing files of store ${place.name}`;
  const lock = { on: 'directory', directory: lockDirectory(place), key: 'backings', orGoOn: false } as const;
  return { locks: [lock], holder: `umlsnap (pid ${process.pid})`, what, wait: true };
}

/**
 * Held, beside the state's, by whoever changes a guest's part of a store: other states and hosts may work in it too. Where it can't
 * be had (the store is away, or read-only, or of a kind without such files), the state's excludes alone.
 */
export function guestPartLock(place: Pick<StorePlace, 'path'>, guest: string) {
  const directory = lockDirectory(place);
  return { on: 'directory', directory, key: `guest ${guest}`, orGoOn: true } as const satisfies Lock;
}

/** @throws Internal */
export function requirePlainName(name: string): string {
  if (plainName.test(name)) return name;
  throw new UmlsnapError('Internal', { problem: `${JSON.stringify(name)} can't be a name in a store` });
}
