import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import type { ImageWorkOptions } from '../image/image-work.js';
import { stampOf } from '../image/open-disk.js';
import { receiveBackingFile } from './backing-files.js';
import { discardIncoming, findIncomings, type Incoming, makeIncoming } from './incoming.js';
import { guestDirectory, isPlainName, type StorePlace, splitSnapshotName } from './layout.js';
import type { Manifest, ManifestDisk } from './manifest.js';
import { type SealDisk, sealSnapshot } from './seal.js';
import type { SnapshotContent } from './store.js';
import { backingFile, copyStoredFile, diskFile, withStoredFile } from './stored-file.js';

/**
 * Takes a copy of a snapshot that lies in another store or in an archive. Every file is held against its checksum as it
 * comes, and again as it was written; then it is sealed as a capture is, in the same order. After any error nothing of it is left.
 * @throws SnapshotExists, SnapshotDamaged (the source is), CaptureDamaged (the copy is)
 */
export async function receiveSnapshot(
  place: StorePlace,
  source: SnapshotContent,
  options: ImageWorkOptions,
): Promise<Manifest> {
  const { manifest } = source;
  const target = requireOrdinary(manifest);
  await refuseExisting(place, manifest);
  await discardLeftovers(place, target.guest);
  const incoming = await makeIncoming(place, target.guest, manifest.job);
  try {
    const disks: SealDisk[] = [];
    for (const disk of manifest.disks) disks.push(await receiveDisk(place, incoming, source, disk, options));
    const { checksum: _, ...facts } = manifest;
    return await sealSnapshot(place, incoming, { ...facts, disks }, options.signal);
  } catch (error) {
    // The first failure is the one that counts; the next receive or `recover` removes what is left.
    await discardIncoming(incoming).catch(() => {});
    throw error;
  }
}

async function receiveDisk(
  place: StorePlace,
  incoming: Incoming,
  source: SnapshotContent,
  disk: ManifestDisk,
  options: ImageWorkOptions,
): Promise<SealDisk> {
  const { device, backing } = disk;
  if (backing !== undefined) {
    const stored = backingFile(source, backing);
    await receiveBackingFile(place, incoming, { device, backing, stored }, options);
  }
  const stored = diskFile(source, disk);
  const { sha256, storedBytes: _, ...facts } = disk;
  return await withStoredFile(stored, async (content) => {
    const target = await open(incoming.pathOf(disk.file), 'wx+', 0o600);
    try {
      await copyStoredFile(stored, content, target.fd, options);
      return { ...facts, stamp: await stampOf(target.fd), expectedSha256: sha256 };
    } finally {
      await target.close();
    }
  });
}

/** A manifest from elsewhere may be anybody's: its names become names of files here. @throws SnapshotDamaged */
function requireOrdinary(manifest: Manifest): { guest: string } {
  const { snapshot, guest, job, disks } = manifest;
  const refuse = (problem: string) => new UmlsnapError('SnapshotDamaged', { snapshot, problem });
  const name = splitSnapshotName(snapshot);
  if (name === undefined || name.directory === 'latest' || name.guest !== guest || !isPlainName(job)) {
    throw refuse('its manifest has names that no snapshot has');
  }
  for (const { device, kind, file, backing } of disks) {
    if (
      file !== `${device}.${kind === 'raw' ? 'img' : 'cow'}` ||
      (kind === 'cow') !== (backing !== undefined)
    ) {
      throw refuse(`its manifest has a ${kind} disk ${device} in the file ${file}`);
    }
    if (backing !== undefined && backing.file !== `${backing.sha256}.img`) {
      throw refuse(`its manifest has a backing file ${backing.file}, which is not named by its content`);
    }
  }
  if (new Set(disks.map(({ device }) => device)).size < disks.length) {
    throw refuse('its manifest has the same disk twice');
  }
  return { guest };
}

/** Before gigabytes are copied in vain; the seal looks again. @throws SnapshotExists */
async function refuseExisting(place: StorePlace, { snapshot, guest }: Manifest): Promise<void> {
  const directory = splitSnapshotName(snapshot)?.directory ?? '';
  try {
    await lstat(join(guestDirectory(place, guest), directory));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw new UmlsnapError('SnapshotExists', { store: place.name, snapshot });
}

async function discardLeftovers(place: StorePlace, guest: string): Promise<void> {
  const leftovers = (await findIncomings(place)).filter((incoming) => incoming.guest === guest);
  for (const incoming of leftovers) await discardIncoming(incoming);
}
