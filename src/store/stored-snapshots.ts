import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, isError, problemOf, UmlsnapError } from '../errors.js';
import { directoriesIn } from './incoming.js';
import {
  backingDirectory,
  guestDirectory,
  isGuestDirectory,
  isSnapshotDirectory,
  manifestName,
  requirePlainName,
  type StorePlace,
  splitSnapshotName,
} from './layout.js';
import { isRecorded, type Manifest, type Owner, parseManifest } from './manifest.js';

/** A snapshot as it was found. Sound: its manifest is, and its files are there in their size; `verify` reads them. */
export type StoredSnapshot = SoundSnapshot | DamagedSnapshot;

interface Found {
  /** `debian@20261121T031500Z` */
  snapshot: string;
  guest: string;
  directory: string;
}

export interface SoundSnapshot extends Found {
  manifest: Manifest;
  /** Of manifest.json's bytes. */
  manifestSha256: string;
}

export interface DamagedSnapshot extends Found {
  /** What is wrong with it, for people. */
  damaged: string;
  /** Where the store, or a manifest that could be read, tells it. */
  owner?: Owner;
}

/** A manifest of 16 disks is far smaller. */
const maxManifestBytes = 1024 * 1024;

export function ownerOf(stored: StoredSnapshot): Owner | undefined {
  return isSound(stored) ? stored.manifest.owner : stored.owner;
}

/** What speaks against it, by its own word and by what the history has recorded of it; undefined: nothing. */
export function whyDamaged(
  stored: StoredSnapshot,
  recorded: { manifestSha256: string; owner: Owner | null } | undefined,
): string | undefined {
  if (!isSound(stored)) return stored.damaged;
  const isOther = recorded && !isRecorded(stored.manifest, stored.manifestSha256, recorded);
  return isOther ? 'its manifest is not the one that the history has recorded' : undefined;
}

/** Whether it is the snapshot that was found before, and nobody's but his: a name alone proves nothing. */
export function isStill(found: StoredSnapshot, now: StoredSnapshot): boolean {
  const job = (stored: StoredSnapshot) => (isSound(stored) ? stored.manifest.job : null);
  return (
    found.snapshot === now.snapshot && ownerOf(found)?.id === ownerOf(now)?.id && job(found) === job(now)
  );
}

/** @throws SnapshotChanged */
export function requireStill(store: string, found: StoredSnapshot, now: StoredSnapshot): void {
  if (isStill(found, now)) return;
  throw new UmlsnapError('SnapshotChanged', { store, snapshot: found.snapshot });
}

/** @throws SnapshotDamaged */
export function requireSound(stored: StoredSnapshot): SoundSnapshot {
  if (isSound(stored)) return stored;
  throw new UmlsnapError('SnapshotDamaged', { snapshot: stored.snapshot, problem: stored.damaged });
}

export function isSound(stored: StoredSnapshot): stored is SoundSnapshot {
  return 'manifest' in stored;
}

/**
 * Every snapshot of the store or of a guest: by guest, newest first. Damaged ones are listed as such; whatever else lies
 * in the store (files, links, directories of other names) is none of ours and left out.
 */
export async function listSnapshots(place: StorePlace, guest?: string): Promise<StoredSnapshot[]> {
  const guests = await directoriesIn(place.path, (name) =>
    guest === undefined ? isGuestDirectory(name) : name === guest && isGuestDirectory(name),
  );
  const found: StoredSnapshot[] = [];
  for (const name of guests) {
    const snapshots = await directoriesIn(guestDirectory(place, name), isSnapshotDirectory);
    for (const snapshot of snapshots.reverse()) {
      const stored = await readSnapshot(place, name, snapshot);
      if (stored !== undefined) found.push(stored);
    }
  }
  return found;
}

/** One snapshot by its name. @throws NoSuchSnapshot */
export async function findSnapshot(place: StorePlace, snapshot: string): Promise<StoredSnapshot> {
  const name = splitSnapshotName(snapshot);
  if (name === undefined) throw new UmlsnapError('NoSuchSnapshot', { snapshot });
  const stored = await readSnapshot(place, name.guest, name.directory);
  if (stored === undefined) throw new UmlsnapError('NoSuchSnapshot', { snapshot });
  return stored;
}

/** Opens a file of a snapshot for reading. @throws SnapshotDamaged when it is not a regular file of its own */
export async function openStoredFile(stored: StoredSnapshot, file: string): Promise<FileHandle> {
  return openRegular(stored.snapshot, join(stored.directory, requirePlainName(file)), file);
}

/** Opens a backing file that a manifest names. @throws SnapshotDamaged when it is not a regular file of its own */
export async function openBackingFile(
  place: StorePlace,
  snapshot: string,
  file: string,
): Promise<FileHandle> {
  return openRegular(snapshot, join(backingDirectory(place), requirePlainName(file)), file);
}

/** Undefined when there is none, or when it was removed while we read it. */
async function readSnapshot(
  place: StorePlace,
  guest: string,
  name: string,
): Promise<StoredSnapshot | undefined> {
  const directory = join(guestDirectory(place, guest), name);
  const found = { snapshot: `${guest}@${name}`, guest, directory };
  // A link in the place of either leads to what is none of ours: it is in no list, and not to be had by its name.
  for (const path of [guestDirectory(place, guest), directory])
    if (!(await isRealDirectory(path))) return undefined;
  try {
    const bytes = await readManifest(found.snapshot, directory);
    const manifest = parseManifest(bytes.toString('utf8'), found.snapshot);
    const problem = await missingPart(place, directory, guest, manifest);
    if (problem === undefined) {
      return { ...found, manifest, manifestSha256: createHash('sha256').update(bytes).digest('hex') };
    }
    const { owner } = manifest;
    return (await isRealDirectory(directory))
      ? { ...found, damaged: problem, ...(owner && { owner }) }
      : undefined;
  } catch (error) {
    const problem = isError(error, 'SnapshotDamaged') ? error.facts.problem : problemOf(error);
    if (!isError(error, 'SnapshotDamaged') && !isDamage(error)) throw error;
    return (await isRealDirectory(directory)) ? { ...found, damaged: problem } : undefined;
  }
}

async function readManifest(snapshot: string, directory: string): Promise<Buffer> {
  const file = await openRegular(snapshot, join(directory, manifestName), manifestName);
  try {
    const { size } = await file.stat();
    if (size <= maxManifestBytes) return await file.readFile();
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: `its manifest has ${size} bytes` });
  } finally {
    await file.close();
  }
}

async function missingPart(
  place: StorePlace,
  directory: string,
  guest: string,
  manifest: Manifest,
): Promise<string | undefined> {
  if (manifest.guest !== guest) return `its manifest belongs to guest ${manifest.guest}`;
  for (const disk of manifest.disks) {
    const problem =
      (await sizeProblem(join(directory, disk.file), disk.sizeBytes)) ??
      (disk.backing &&
        (await sizeProblem(join(backingDirectory(place), disk.backing.file), disk.backing.sizeBytes)));
    if (problem !== undefined) return problem;
  }
  return undefined;
}

async function sizeProblem(path: string, sizeBytes: number): Promise<string | undefined> {
  try {
    const found = await lstat(path);
    if (!found.isFile()) return `${path} is not a regular file`;
    return found.size === sizeBytes ? undefined : `${path} has ${found.size} bytes instead of ${sizeBytes}`;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return `${path} is missing`;
    throw error;
  }
}

/** O_NOFOLLOW: a link could lead to any file of the host. O_NONBLOCK: a FIFO would hang us. */
async function openRegular(snapshot: string, path: string, file: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(path, flags).catch((error: unknown) => {
    if (!isDamage(error)) throw error;
    const problem = errnoOf(error) === 'ENOENT' ? `${file} is missing` : `${file}: ${problemOf(error)}`;
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem }, error);
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: `${file} is not a regular file` });
}

/** What speaks against the snapshot itself, and not against us, as too many open files would. */
function isDamage(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EISDIR', 'EIO', 'EUCLEAN'].includes(errnoOf(error) ?? '');
}

async function isRealDirectory(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}
