import { chown, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { probeReflink } from '../../capture/probe-reflink.js';
import { reasonOf } from '../../error-text.js';
import { UmlsnapError } from '../../errors.js';
import type { FilesystemRecord } from '../../history/records.js';
import { countDataBytes } from '../../image/sparse-copy.js';
import type { ManifestDisk } from '../../store/manifest.js';
import type { RestoreOptions, RestoreSource } from '../restore-source.js';
import { type Check, checkFilesystem, type Finding } from './check-filesystem.js';
import { checkerUser, runChecker } from './checker-process.js';
import { checkerSandbox } from './checker-sandbox.js';
import { copyDisk } from './private-copy.js';
import { freeBytesIn, withScratch } from './scratch.js';
import { contentOf, type DiskContent, headBytes } from './superblock.js';

/** Where private copies may be made. */
export interface ScratchPlaces {
  /** What the config says; null: it is for us to choose. */
  configured: string | null;
  /** A directory, and where copies that share its files' blocks would lie; null: the store has none. */
  beside: { directory: string; scratch: string } | null;
  otherwise: string;
}

export interface CheckOptions extends RestoreOptions {
  places: ScratchPlaces;
  /** Whom checkers run as, where we are root. */
  user: string;
}

/** What a replay may write, beyond what is copied. */
const reserveBytes = 64 * 2 ** 20;
/** With less than this left, a checker may have failed for want of room. */
const noRoomBytes = 2 ** 20;

/**
 * Checks the filesystems in the disks of a snapshot that was verified: each on a private copy, which is gone afterwards. The
 * snapshot itself is only read, and nothing is ever mounted.
 * @returns one record for each disk; what kept one from being checked is in it
 * @throws the signal's reason
 */
export async function checkDisks(source: RestoreSource, options: CheckOptions): Promise<FilesystemRecord[]> {
  const records: FilesystemRecord[] = [];
  for (const disk of source.manifest.disks) {
    options.signal.throwIfAborted();
    records.push({ disk: disk.device, ...(await checkDisk(source, disk, options)) });
  }
  return records;
}

type DiskFinding = Finding & { type: string };

async function checkDisk(
  source: RestoreSource,
  disk: ManifestDisk,
  options: CheckOptions,
): Promise<DiskFinding> {
  try {
    const seen = disk.backing ? null : await lookAhead(source, disk);
    if (seen !== null && seen.is !== 'filesystem') return nothingToCheck(seen);
    const user = await checkerUser(options.user);
    const place = await placeFor(source, disk, options.places);
    return await withScratch(place.path, user, async (directory) => {
      await requireRoom(directory, disk, place.copiedBytes);
      return await checkCopy(source, disk, directory, user, options);
    });
  } catch (error) {
    options.signal.throwIfAborted();
    return { type: 'unknown', verdict: 'notChecked', reason: reasonOf(error), output: null };
  }
}

async function checkCopy(
  source: RestoreSource,
  disk: ManifestDisk,
  directory: string,
  user: { uid: number; gid: number } | null,
  options: CheckOptions,
): Promise<DiskFinding> {
  const image = `${disk.device}.img`;
  const path = join(directory, image);
  const copied = await copyDisk(source, disk, path, options);
  if ('problem' in copied) return { type: 'COW', verdict: 'bad', reason: copied.problem, output: null };
  const content = await contentOfFile(path);
  if (content.is !== 'filesystem') return nothingToCheck(content);
  if (user) await chown(path, user.uid, user.gid);
  const diskBytes = disk.backing?.sizeBytes ?? disk.sizeBytes;
  const { signal } = options;
  const sandbox = await checkerSandbox(directory, user, signal);
  const check: Check = (argv, more) =>
    runChecker(argv, {
      directory,
      user,
      sandbox,
      signal,
      fileBytes: more?.setsOwnFileLimit ? null : diskBytes,
    });
  const found = await checkFilesystem(content.filesystem, diskBytes, `./${image}`, check);
  if (found.verdict === 'sound' && sandbox.is === 'missing')
    found.reason = `its checker ran in no box: ${sandbox.problem}`;
  const ranOut = found.verdict === 'bad' && (await freeBytesIn(directory)) < noRoomBytes;
  await rm(path, { force: true });
  if (!ranOut) return { type: content.filesystem.type, ...found };
  const reason = `there was no room left for the check in ${directory}`;
  return { type: content.filesystem.type, verdict: 'notChecked', reason, output: found.output };
}

function nothingToCheck(content: Exclude<DiskContent, { is: 'filesystem' }>): DiskFinding {
  if (content.is === 'other') return { type: content.what, verdict: 'none', reason: null, output: null };
  const reason = 'what lies in its partitions is not looked into';
  return { type: `partition table (${content.table})`, verdict: 'none', reason, output: null };
}

/** What is no filesystem of ours need not be copied; of a stream, it takes a copy to know. */
async function lookAhead(source: RestoreSource, disk: ManifestDisk): Promise<DiskContent | null> {
  const content = await source.openFile(disk.file);
  try {
    if (content.from !== 'file') return null;
    const head = Buffer.alloc(headBytes);
    const { bytesRead } = await content.handle.read(head, 0, headBytes, 0);
    return contentOf(head.subarray(0, bytesRead));
  } finally {
    await content.close();
  }
}

/** What kind of content a raw image begins with. */
export async function contentOfFile(path: string): Promise<DiskContent> {
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(headBytes);
    const { bytesRead } = await file.read(head, 0, headBytes, 0);
    return contentOf(head.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

interface Place {
  path: string;
  /** What a copy takes there. */
  copiedBytes: number;
}

/** Where a copy shares its blocks with the store it takes next to no room and no time; else it does not belong there. */
export async function placeFor(
  source: RestoreSource,
  disk: ManifestDisk,
  places: ScratchPlaces,
): Promise<Place> {
  const { configured, beside, otherwise } = places;
  const path = configured ?? otherwise;
  const content = await (disk.backing ? source.openBacking(disk.backing.file) : source.openFile(disk.file));
  try {
    if (content.from === 'stream')
      return { path, copiedBytes: disk.storedBytes + (disk.backing?.sizeBytes ?? 0) };
    const { fd } = content.handle;
    const sharing = configured === null ? beside : { directory: configured, scratch: configured };
    if (sharing !== null && (await probeReflink(fd, sharing.directory)).works)
      return { path: sharing.scratch, copiedBytes: disk.backing ? disk.storedBytes : 0 };
    const dataBytes = await countDataBytes(fd);
    return { path, copiedBytes: dataBytes + (disk.backing ? disk.storedBytes : 0) };
  } finally {
    await content.close();
  }
}

/** @throws ScratchUnusable */
export async function requireRoom(directory: string, disk: ManifestDisk, copiedBytes: number): Promise<void> {
  const neededBytes = copiedBytes + Math.min(reserveBytes, disk.sizeBytes);
  const freeBytes = await freeBytesIn(directory);
  if (freeBytes >= neededBytes) return;
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const problem = `it has ${mib(freeBytes)} free, and a private copy of ${disk.device} takes ${mib(neededBytes)}`;
  throw new UmlsnapError('ScratchUnusable', { path: directory, problem });
}
