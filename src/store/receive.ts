import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import type { ImageContent } from '../image/image-content.js';
import type { ImageWorkOptions } from '../image/image-work.js';
import { stampOf } from '../image/open-disk.js';
import { receiveBackingFile } from './backing-files.js';
import { discardIncoming, findIncomings, type Incoming, makeIncoming } from './incoming.js';
import { guestDirectory, isPlainName, type StorePlace, splitSnapshotName } from './layout.js';
import { type Manifest, type ManifestDisk, amended } from './manifest.js';
import { makeWhole, type SealDisk, type SealDraft, sealSnapshot } from './seal.js';
import type { HealOptions, SnapshotContent } from './store.js';
import { checkStoredFile, copyStoredFile, type StoredFile, withStoredFile } from './stored-file.js';
import { findSnapshot, isSound, ownerOf, requireStill, type StoredSnapshot } from './stored-snapshots.js';
import { replaceSnapshot } from './trash.js';

/** A file of a snapshot on its way here. */
export interface ArrivingFile {
  kind: 'disk' | 'backing';
  /** Its name in the manifest. */
  file: string;
  open(): Promise<ImageContent>;
  /**
   * It comes by only now, as in an archive: where it is not needed it is read and checked all the same, so that whoever gave the
   * archive knows that all of it is good.
   */
  comesBy: boolean;
}

/**
 * Takes a copy of a snapshot that lies in another store.
 * @throws SnapshotExists, SnapshotDamaged (the source is), CaptureDamaged (the copy is)
 */
export async function receiveSnapshot(
  place: StorePlace,
  source: SnapshotContent,
  options: ImageWorkOptions,
): Promise<Manifest> {
  return await receiveFiles(place, source.manifest, filesOf(source), options);
}

/** What a disk stands on before the disk. */
function filesOf({ manifest, openFile, openBacking }: SnapshotContent): ArrivingFile[] {
  return manifest.disks.flatMap(({ file, backing }) => {
    const disk: ArrivingFile = { kind: 'disk', file, open: () => openFile(file), comesBy: false };
    if (backing === undefined) return [disk];
    return [
      { kind: 'backing', file: backing.file, open: () => openBacking(backing.file), comesBy: false },
      disk,
    ];
  });
}

/**
 * Takes a snapshot whose files come in any order. Each is held against its checksum as it comes, and again as it was written;
 * then it is sealed as a capture is, in the same order. After any error nothing of it is left.
 * @throws SnapshotExists, SnapshotDamaged (what comes is), CaptureDamaged (the copy is)
 */
export async function receiveFiles(
  place: StorePlace,
  manifest: Manifest,
  files: AsyncIterable<ArrivingFile> | Iterable<ArrivingFile>,
  options: ImageWorkOptions,
): Promise<Manifest> {
  const target = requireOrdinary(manifest);
  await refuseExisting(place, manifest);
  return await withArrived(
    place,
    target.guest,
    { manifest, files, rereads: false },
    options,
    (incoming, draft) => sealSnapshot(place, incoming, draft, options.signal),
  );
}

/**
 * Puts a copy of a snapshot that lies elsewhere in the place of a damaged one: it is taken as any other, and sealed but for its
 * name; see `replaceSnapshot` for the order. Backing files that lie here already are read again, and replaced where they are damaged.
 * @throws NoSuchSnapshot, SnapshotDamaged (the source is), CaptureDamaged (the copy is), Busy
 */
export async function healSnapshot(
  place: StorePlace,
  found: StoredSnapshot,
  source: SnapshotContent,
  options: HealOptions,
): Promise<Manifest> {
  const { guest } = requireOrdinary(source.manifest);
  const damaged = await findSnapshot(place, found.snapshot);
  requireStill(place.name, found, damaged);
  const manifest = withMarksOf(damaged, source.manifest);
  const arriving = { manifest, files: filesOf(source), rereads: true };
  return await withArrived(place, guest, arriving, options, async (incoming, draft) => {
    const healed = await makeWhole(place, incoming, draft, options.signal);
    await options.onWhole?.(healed);
    await replaceSnapshot(place, damaged, incoming.directory);
    return healed;
  });
}

/** A pin is in every store: what is pinned in one of the two stays so. Its owner is the damaged one's, as far as that tells. */
export function withMarksOf(damaged: StoredSnapshot, manifest: Manifest): Manifest {
  const pinned = manifest.pinned || (isSound(damaged) && damaged.manifest.pinned);
  const owner = ownerOf(damaged) ?? manifest.owner;
  return amended(manifest, { pinned, ...(owner && { owner }) });
}

interface Arriving {
  manifest: Manifest;
  files: AsyncIterable<ArrivingFile> | Iterable<ArrivingFile>;
  /** Whether backing files that are there already are read again, and replaced where they are damaged. */
  rereads: boolean;
}

/** Lets `use` make a snapshot of what has arrived; when anything fails, nothing of it is left. */
async function withArrived(
  place: StorePlace,
  guest: string,
  { manifest, files, rereads }: Arriving,
  options: ImageWorkOptions,
  use: (incoming: Incoming, draft: SealDraft) => Promise<Manifest>,
): Promise<Manifest> {
  await discardLeftovers(place, guest);
  const incoming = await makeIncoming(place, guest, manifest.job);
  try {
    const arrived = new Map<string, SealDisk>();
    for await (const file of files) {
      if (file.kind === 'backing') await takeBacking(place, incoming, manifest, file, rereads, options);
      else arrived.set(file.file, await takeDisk(incoming, manifest, file, options));
    }
    const disks = manifest.disks.map(
      ({ file }) => arrived.get(file) ?? refuse(manifest, `${file} is missing`),
    );
    const { checksum: _, ...facts } = manifest;
    return await use(incoming, { ...facts, disks });
  } catch (error) {
    // The first failure is the one that counts; the next receive or `recover` removes what is left.
    await discardIncoming(incoming).catch(() => {});
    throw error;
  }
}

async function takeBacking(
  place: StorePlace,
  incoming: Incoming,
  manifest: Manifest,
  { file, open: openIt, comesBy }: ArrivingFile,
  rereads: boolean,
  options: ImageWorkOptions,
): Promise<void> {
  const disk = manifest.disks.find(({ backing }) => backing?.file === file);
  if (disk?.backing === undefined) return refuse(manifest, `it has no backing file ${file}`);
  const { device, backing } = disk;
  const stored = storedFile(manifest, backing, openIt);
  const isTaken = await receiveBackingFile(place, incoming, { device, backing, stored, rereads }, options);
  if (!isTaken && comesBy) await checkStoredFile(stored, options);
}

async function takeDisk(
  incoming: Incoming,
  manifest: Manifest,
  { file, open: openIt }: ArrivingFile,
  options: ImageWorkOptions,
): Promise<SealDisk> {
  const disk = manifest.disks.find((one) => one.file === file) ?? refuse(manifest, `it has no disk ${file}`);
  const stored = storedFile(manifest, disk, openIt);
  const { sha256, storedBytes: _, ...facts } = disk;
  return await withStoredFile(stored, async (content) => {
    const target = await open(incoming.pathOf(file), 'wx+', 0o600);
    try {
      await copyStoredFile(stored, content, target.fd, options);
      return { ...facts, stamp: await stampOf(target.fd), expectedSha256: sha256 };
    } finally {
      await target.close();
    }
  });
}

function storedFile(
  { snapshot }: Manifest,
  { file, sizeBytes, sha256, dataSha256 }: Pick<ManifestDisk, 'file' | 'sizeBytes' | 'sha256' | 'dataSha256'>,
  openIt: () => Promise<ImageContent>,
): StoredFile {
  return { snapshot, file, sizeBytes, sha256, dataSha256, open: openIt };
}

/** @throws SnapshotDamaged */
function refuse({ snapshot }: Manifest, problem: string): never {
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem });
}

/** A manifest from elsewhere may be anybody's: its names become names of files here. @throws SnapshotDamaged */
export function requireOrdinary(manifest: Manifest): { guest: string } {
  const { snapshot, guest, job, disks } = manifest;
  const name = splitSnapshotName(snapshot);
  if (name === undefined || name.guest !== guest || !isPlainName(job)) {
    refuse(manifest, 'its manifest has names that no snapshot has');
  }
  for (const { device, kind, file, backing } of disks) {
    if (
      file !== `${device}.${kind === 'raw' ? 'img' : 'cow'}` ||
      (kind === 'cow') !== (backing !== undefined)
    ) {
      refuse(manifest, `its manifest has a ${kind} disk ${device} in the file ${file}`);
    }
    if (backing !== undefined && backing.file !== `${backing.sha256}.img`) {
      refuse(manifest, `its manifest has a backing file ${backing.file}, which is not named by its content`);
    }
  }
  if (new Set(disks.map(({ device }) => device)).size < disks.length) {
    refuse(manifest, 'its manifest has the same disk twice');
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
