import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { bothDigestsOfOpenFile } from '../image/digest.js';
import { renameToNewName, syncDirectory, writeNewFile } from '../image/durable-file.js';
import { describeChange, type Stamp, stampOf } from '../image/open-disk.js';
import type { Incoming } from './incoming.js';
import {
  backingDirectory,
  guestDirectory,
  manifestName,
  type StorePlace,
  splitSnapshotName,
} from './layout.js';
import { formatManifest, type Manifest, type ManifestDisk, parseManifest, sealManifest } from './manifest.js';

/** `stamp` is of the captured file, taken right after its capture: whoever has touched it since has changed it. */
export type SealDisk = Omit<ManifestDisk, 'sha256' | 'dataSha256' | 'storedBytes'> & {
  stamp: Stamp;
  /** What it has to read back as, where that is known before. */
  expectedSha256?: string;
};
export type SealDraft = Omit<Manifest, 'checksum' | 'disks'> & { disks: SealDisk[] };

/**
 * Turns what was captured into a snapshot. The order is the promise:
 * 1. every disk's data MUST be durable, and read back for its hash, before the manifest is written;
 * 2. the manifest and the names of all files MUST be durable before the directory gets the name under which it is listed;
 * 3. that name MUST be durable before anybody is told that the snapshot exists.
 * After any error the snapshot does not exist, and the caller throws the incoming copy away.
 * @throws CaptureDamaged, SnapshotExists, Internal
 */
export async function sealSnapshot(
  place: StorePlace,
  incoming: Incoming,
  draft: SealDraft,
  signal: AbortSignal | undefined,
): Promise<Manifest> {
  const target = targetOf(place, incoming, draft);
  const manifest = await makeWhole(place, incoming, draft, signal);
  await publish(place, incoming.directory, target, draft.snapshot);
  return manifest;
}

/**
 * Steps 1 and 2: the incoming copy is whole and durable, but for the name under which it is listed.
 * @throws CaptureDamaged, Internal
 */
export async function makeWhole(
  place: StorePlace,
  incoming: Incoming,
  draft: SealDraft,
  signal: AbortSignal | undefined,
): Promise<Manifest> {
  await requireOnlyDisks(incoming, draft);
  const disks: ManifestDisk[] = [];
  for (const disk of draft.disks) {
    await requireBacking(place, draft.guest, disk);
    disks.push(await sealDisk(incoming, draft.guest, disk, signal));
  }
  const manifest = sealManifest({ ...draft, disks });
  await writeNewFile(join(incoming.directory, manifestName), readableText(manifest));
  await syncDirectory(incoming.directory);
  signal?.throwIfAborted();
  return manifest;
}

function targetOf(place: StorePlace, incoming: Incoming, draft: SealDraft): string {
  const name = splitSnapshotName(draft.snapshot);
  if (name === undefined) throw internal(`${draft.snapshot} is no snapshot's name`);
  if (name.guest !== draft.guest || draft.guest !== incoming.guest || draft.job !== incoming.job) {
    throw internal(`${draft.snapshot} was not begun as guest ${incoming.guest}, job ${incoming.job}`);
  }
  return join(guestDirectory(place, name.guest), name.directory);
}

async function requireOnlyDisks(incoming: Incoming, draft: SealDraft): Promise<void> {
  const expected = draft.disks.map((disk) => disk.file).sort();
  const found = (await readdir(incoming.directory)).sort();
  if (found.join('/') !== expected.join('/')) {
    throw internal(`${incoming.directory} holds ${found.join(', ')} instead of ${expected.join(', ')}`);
  }
}

async function requireBacking(place: StorePlace, guest: string, disk: SealDisk): Promise<void> {
  if (disk.backing === undefined) return;
  const path = join(backingDirectory(place), disk.backing.file);
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found?.isFile() && found.size === disk.backing.sizeBytes) return;
  const problem = `its backing file ${path} is not in the store`;
  throw new UmlsnapError('CaptureDamaged', { guest, device: disk.device, problem });
}

async function sealDisk(
  incoming: Incoming,
  guest: string,
  disk: SealDisk,
  signal: AbortSignal | undefined,
): Promise<ManifestDisk> {
  const path = incoming.pathOf(disk.file);
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await requireUntouched(file, guest, disk);
    await file.sync();
    const options = signal === undefined ? {} : { signal };
    const { sha256, dataSha256, sizeBytes } = await bothDigestsOfOpenFile(file.fd, options);
    if (sizeBytes !== disk.sizeBytes)
      throw damaged(guest, disk, `it has ${sizeBytes} bytes, not ${disk.sizeBytes}`);
    if (disk.expectedSha256 !== undefined && sha256 !== disk.expectedSha256)
      throw damaged(guest, disk, 'it reads differently from what was written');
    // Again after the hash: the hash of a file that somebody changed would declare the damage sound.
    await requireUntouched(file, guest, disk);
    const named = await lstat(path, { bigint: true });
    if (named.ino !== disk.stamp.ino || named.dev !== disk.stamp.dev)
      throw damaged(guest, disk, 'it was replaced');
    const { stamp: _, expectedSha256: __, ...rest } = disk;
    return { ...rest, sha256, dataSha256, storedBytes: Number(named.blocks) * 512 };
  } finally {
    await file.close();
  }
}

async function requireUntouched(file: FileHandle, guest: string, disk: SealDisk): Promise<void> {
  const change = describeChange(disk.stamp, await stampOf(file.fd));
  if (change !== null) throw damaged(guest, disk, change);
}

/** What can't be read back MUST NOT be written. */
function readableText(manifest: Manifest): string {
  try {
    const text = formatManifest(manifest);
    parseManifest(text, manifest.snapshot);
    return text;
  } catch (error) {
    throw internal(`the manifest of ${manifest.snapshot} would not be readable: ${problemOf(error)}`, error);
  }
}

async function publish(place: StorePlace, incoming: string, target: string, snapshot: string): Promise<void> {
  try {
    await renameToNewName(incoming, target);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    throw new UmlsnapError('SnapshotExists', { store: place.name, snapshot }, error);
  }
  try {
    await syncDirectory(dirname(target));
  } catch (error) {
    // It was never acknowledged, so it must not be listed either: back to where the caller discards it. Where even that
    // fails, the first failure is the one that counts.
    await rename(target, incoming).catch(() => {});
    throw error;
  }
}

function damaged(guest: string, disk: SealDisk, problem: string): UmlsnapError {
  return new UmlsnapError('CaptureDamaged', {
    guest,
    device: disk.device,
    problem: `the captured file is not as the capture left it: ${problem}`,
  });
}

function internal(problem: string, cause?: unknown): UmlsnapError {
  return new UmlsnapError('Internal', { problem }, cause);
}
