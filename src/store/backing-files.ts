import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { bothDigestsOfOpenFile, sha256OfOpenFile } from '../image/digest.js';
import { ensureDirectory, syncDirectory } from '../image/durable-file.js';
import type { ImageWorkOptions } from '../image/image-work.js';
import { describeChange, type Stamp, stampOf } from '../image/open-disk.js';
import { copySparse, failedSide } from '../image/sparse-copy.js';
import { type BackingDigests, findBySource, isStored, noteSource } from './backing-notes.js';
import type { Incoming } from './incoming.js';
import { backingDirectory, type StorePlace } from './layout.js';
import type { ManifestDisk } from './manifest.js';
import { copyStoredFile, type StoredFile, withStoredFile } from './stored-file.js';

/**
 * Backing files of COW disks lie in the store once each, by content. They are read-only to their guests, so a file whose
 * identity (device, inode, size, times) was seen before is not read again: the note beside the content remembers it.
 */

export type StoredBacking = NonNullable<ManifestDisk['backing']>;

export interface BackingSource {
  device: string;
  /** As the guest's COW header names it. */
  path: string;
  /** Open for reading. */
  fd: number;
}

/**
 * Puts a backing file into the store, unless its content is there. Not for a paused guest: reads the whole file.
 * @throws SourceChanged, CaptureFailed (it can't be read), CaptureDamaged
 */
export async function storeBackingFile(
  place: StorePlace,
  incoming: Incoming,
  backing: BackingSource,
  signal: AbortSignal | undefined,
): Promise<StoredBacking> {
  const directory = backingDirectory(place);
  await ensureDirectory(directory);
  const stamp = await stampOf(backing.fd);
  // Now: later on, it would look older than it was when its times were taken.
  const mayBeNoted = isSettled(stamp);
  const known = await findBySource(directory, stamp);
  if (known !== undefined) return describe(known, backing, stamp);
  const digests = await hashSource(incoming.guest, backing, signal);
  await requireUnchanged(incoming.guest, backing, stamp);
  if (!(await isStored(directory, digests.sha256, stamp.sizeBytes))) {
    await copyIn(directory, incoming, backing, stamp, digests.sha256, signal);
  }
  if (mayBeNoted) await noteSource(directory, digests, stamp, backing.path);
  return describe(digests, backing, stamp);
}

/** A file written to a moment ago could be written to again and keep its times: the kernel's clock for them is coarse. */
function isSettled(stamp: Stamp): boolean {
  return Date.now() - Number(stamp.ctimeNs / 1_000_000n) > 2000;
}

function describe(digests: BackingDigests, backing: BackingSource, stamp: Stamp): StoredBacking {
  return {
    sourcePath: backing.path,
    file: `${digests.sha256}.img`,
    sizeBytes: stamp.sizeBytes,
    mtime: new Date(Number(stamp.mtimeNs / 1_000_000n)).toISOString(),
    ...digests,
  };
}

async function copyIn(
  directory: string,
  incoming: Incoming,
  backing: BackingSource,
  stamp: Stamp,
  sha256: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const content = { device: backing.device, sha256, mtimeMs: Number(stamp.mtimeNs / 1_000_000n) };
  await placeBacking(directory, incoming, content, signal, async (target) => {
    await copyContent(incoming.guest, backing, target, signal);
    await requireUnchanged(incoming.guest, backing, stamp);
  });
}

/** A backing file on its way here. */
interface ComingBacking {
  device: string;
  backing: StoredBacking;
  stored: StoredFile;
  rereads: boolean;
}

async function isDamaged(directory: string, sha256: string, { signal }: ImageWorkOptions): Promise<boolean> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(join(directory, `${sha256}.img`), flags);
  try {
    const found = await sha256OfOpenFile(file.fd, signal === undefined ? {} : { signal });
    return found.sha256 !== sha256;
  } catch (error) {
    // A bad place on the medium.
    if (errnoOf(error) === 'EIO') return true;
    throw error;
  } finally {
    await file.close();
  }
}

/**
 * Puts a backing file that comes with a snapshot from elsewhere into this store, unless its content is there. With `rereads`, one that
 * is there is read, and gives way to the one that comes where it is damaged.
 * @returns false when it was there, and nothing that comes was read
 * @throws SnapshotDamaged, CaptureDamaged
 */
export async function receiveBackingFile(
  place: StorePlace,
  incoming: Incoming,
  { device, backing, stored, rereads }: ComingBacking,
  options: ImageWorkOptions,
): Promise<boolean> {
  const directory = backingDirectory(place);
  await ensureDirectory(directory);
  const { sha256, sizeBytes, mtime } = backing;
  const isThere = await isStored(directory, sha256, sizeBytes);
  if (isThere && !(rereads && (await isDamaged(directory, sha256, options)))) return false;
  const content = { device, sha256, mtimeMs: Date.parse(mtime) };
  await placeBacking(directory, incoming, content, options.signal, (target) =>
    withStoredFile(stored, async (source) => {
      await copyStoredFile(stored, source, target.fd, options);
    }),
  );
  return true;
}

/** The content MUST be durable under its final name before a note or a manifest speaks of it. */
async function placeBacking(
  directory: string,
  incoming: Incoming,
  content: { device: string; sha256: string; mtimeMs: number },
  signal: AbortSignal | undefined,
  write: (target: FileHandle) => Promise<void>,
): Promise<void> {
  // In the job's own directory, so that it is swept with it.
  const temporary = incoming.pathOf(`backing-${content.device}`);
  const target = await open(temporary, 'wx+', 0o600);
  try {
    await write(target);
    // UML compares the backing file's mtime with the COW header's, in whole seconds (uml-facts §5). Milliseconds, since
    // a number of seconds with nanoseconds would be rounded up into the next one.
    await target.utimes(content.mtimeMs / 1000, content.mtimeMs / 1000);
    await target.sync();
    const copied = await sha256OfOpenFile(target.fd, signal === undefined ? {} : { signal });
    if (copied.sha256 !== content.sha256) throw damaged(incoming.guest, content.device);
    await rename(temporary, join(directory, `${content.sha256}.img`));
  } finally {
    await target.close();
    await rm(temporary, { force: true });
  }
  await syncDirectory(directory);
}

async function copyContent(
  guest: string,
  backing: BackingSource,
  target: FileHandle,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await copySparse(backing.fd, target.fd, signal === undefined ? {} : { signal });
  } catch (error) {
    throw failedSide(error) === 'source' ? unreadable(guest, backing, error) : error;
  }
}

async function hashSource(
  guest: string,
  backing: BackingSource,
  signal: AbortSignal | undefined,
): Promise<BackingDigests> {
  try {
    const { sha256, dataSha256 } = await bothDigestsOfOpenFile(
      backing.fd,
      signal === undefined ? {} : { signal },
    );
    return { sha256, dataSha256 };
  } catch (error) {
    throw unreadable(guest, backing, error);
  }
}

async function requireUnchanged(guest: string, backing: BackingSource, before: Stamp): Promise<void> {
  const change = describeChange(before, await stampOf(backing.fd));
  if (change === null) return;
  const problem = `backing file ${backing.path}: ${change} while it was read`;
  throw new UmlsnapError('SourceChanged', { guest, device: backing.device, problem });
}

function unreadable(guest: string, backing: BackingSource, error: unknown): unknown {
  if (errnoOf(error) === undefined) return error;
  const problem = `backing file ${backing.path}: ${problemOf(error)}`;
  return new UmlsnapError('CaptureFailed', { guest, device: backing.device, problem }, error);
}

function damaged(guest: string, device: string): UmlsnapError {
  const problem = 'the copy of its backing file reads differently from what was written';
  return new UmlsnapError('CaptureDamaged', { guest, device, problem });
}
