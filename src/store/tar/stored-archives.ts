import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { errnoOf, isError, problemOf, UmlsnapError } from '../../errors.js';
import { directoriesIn } from '../incoming.js';
import { isGuestDirectory, type StorePlace, splitSnapshotName } from '../layout.js';
import { type Manifest, type Owner, amended, manifestSha256 } from '../manifest.js';
import type { StoredSnapshot } from '../stored-snapshots.js';
import { type FoundArchive, findArchives } from './archive-layout.js';
import { readTail } from './archive-tail.js';
import type { ArchiveInput } from './decompress.js';
import { readArchive } from './read-archive.js';
import { readStoredFrame, storedFrameBytes } from './stored-frame.js';

/** So many archives are looked into at a time: each costs a few waits for the disk. */
const atATime = 8;
/** As much of an archive as has the manifest of nearly all of them. */
const headBytes = 16 * 1024;
const maxHeadBytes = 2 * 1024 * 1024;

/** Every snapshot of the store or of a guest, by guest, newest first. Only the head of each archive is read. */
export async function listArchives(place: StorePlace, guest?: string): Promise<StoredSnapshot[]> {
  const guests = await directoriesIn(place.path, (name) =>
    guest === undefined ? isGuestDirectory(name) : name === guest && isGuestDirectory(name),
  );
  const found: StoredSnapshot[] = [];
  for (const name of guests) {
    const archives = await findArchives(place, name);
    for (let at = 0; at < archives.length; at += atATime) {
      const read = await Promise.all(archives.slice(at, at + atATime).map(readStored));
      found.push(...read.filter((stored) => stored !== undefined));
    }
  }
  return found;
}

/** One snapshot by its name. @throws NoSuchSnapshot */
export async function findArchive(place: StorePlace, snapshot: string): Promise<StoredSnapshot> {
  const name = splitSnapshotName(snapshot);
  if (name !== undefined) {
    for (const archive of await findArchives(place, name.guest)) {
      if (name.directory !== archive.name) continue;
      const stored = await readStored(archive);
      if (stored !== undefined) return stored;
    }
  }
  throw new UmlsnapError('NoSuchSnapshot', { snapshot });
}

/**
 * Opens an archive for reading: a file of its own, and no link that leads anywhere.
 * @throws SnapshotDamaged
 */
export async function openArchiveFile(snapshot: string, path: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(path, flags).catch((error: unknown) => {
    if (!isDamage(error)) throw error;
    const problem =
      errnoOf(error) === 'ENOENT' ? 'its archive is missing' : `its archive: ${problemOf(error)}`;
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem }, error);
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: 'its archive is not a regular file' });
}

/** The manifest as it counts: with what was said of its pin and its owner since it was written. */
export function asItCounts(
  manifest: Manifest,
  { pinned, owner }: { pinned: boolean | null; owner: Owner | undefined },
): Manifest {
  if (owner === undefined && (pinned === null || pinned === manifest.pinned)) return manifest;
  return amended(manifest, { pinned: pinned ?? manifest.pinned, ...(owner && { owner }) });
}

/** Undefined when it was removed while we read it. */
async function readStored(archive: FoundArchive): Promise<StoredSnapshot | undefined> {
  const { guest, name, path } = archive;
  const found = { snapshot: `${guest}@${name}`, guest, directory: path };
  try {
    const { read, damaged } = await readManifest(found.snapshot, archive);
    const manifest = asItCounts(read, archive);
    if (damaged === null) return { ...found, manifest, manifestSha256: manifestSha256(manifest) };
    return { ...found, damaged, ...(manifest.owner && { owner: manifest.owner }) };
  } catch (error) {
    if (!isError(error, 'SnapshotDamaged') && !isDamage(error)) throw error;
    const damaged = isError(error, 'SnapshotDamaged') ? error.facts.problem : problemOf(error);
    const { owner } = archive;
    return (await isThere(path)) ? { ...found, damaged, ...(owner && { owner }) } : undefined;
  }
}

/** Of an archive whose end is damaged, the manifest still tells whose it is. @throws SnapshotDamaged */
async function readManifest(
  snapshot: string,
  { path, compression }: FoundArchive,
): Promise<{ read: Manifest; damaged: string | null }> {
  const file = await openArchiveFile(snapshot, path);
  try {
    const tail = await readTail(file, compression);
    const damaged = tail !== null && 'isDamaged' in tail ? 'the end of its archive is damaged' : null;
    const input = await headOf(file);
    const read = await readArchive(input, { label: snapshot, snapshot }, async ({ manifest }) => manifest);
    return { read, damaged };
  } finally {
    await file.close();
  }
}

/**
 * Our own archives need no decompressor for their heads; others are decompressed as far as the manifest goes. It is in the first
 * bytes of all of them: what comes before it may be gigabytes that hold nothing, and those are not waited for.
 */
async function headOf(file: FileHandle): Promise<ArchiveInput> {
  const head = await readStart(file, headBytes);
  const frameBytes = storedFrameBytes(head) ?? Infinity;
  const frame =
    frameBytes <= head.length || frameBytes > maxHeadBytes ? head : await readStart(file, frameBytes);
  const content = frameBytes > maxHeadBytes ? null : readStoredFrame(frame);
  if (content !== null) return { from: 'stream', bytes: once(content) };
  return {
    from: 'stream',
    bytes: file.createReadStream({ start: 0, end: maxHeadBytes - 1, autoClose: false }),
  };
}

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content;
}

async function readStart(file: FileHandle, length: number): Promise<Buffer> {
  const start = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(start, filled, length - filled, filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return start.subarray(0, filled);
}

/** What speaks against the archive itself, and not against us, as too many open files would. */
function isDamage(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EISDIR', 'EIO', 'EUCLEAN'].includes(errnoOf(error) ?? '');
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}
