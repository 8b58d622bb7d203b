import { chown } from 'node:fs/promises';
import { join } from 'node:path';
import { isError, UmlsnapError } from '../errors.js';
import {
  contentOfFile,
  placeFor,
  requireRoom,
  type ScratchPlaces,
} from '../restore/filesystems/check-disks.js';
import { copyDisk } from '../restore/filesystems/private-copy.js';
import { withScratch } from '../restore/filesystems/scratch.js';
import type { Filesystem } from '../restore/filesystems/superblock.js';
import type { RestoreSource } from '../restore/restore-source.js';
import type { ManifestDisk } from '../store/manifest.js';
import { ExtImage } from './ext-image.js';
import { runInToolSandbox } from './tool-sandbox.js';

export interface FilesOptions {
  /** `ubd0` */
  device: string;
  places: ScratchPlaces;
  /** User and group that programs which read the image run as where we are root. */
  user: number;
  signal: AbortSignal;
}

export interface OpenImage {
  image: ExtImage;
  /** What is to be known of what is read. */
  warnings: string[];
}

/**
 * Runs `use` with the filesystem of a disk of a snapshot: of a private copy, in which the journal was replayed where that is to be done,
 * so that what stood there only is seen as well. The snapshot itself is only read, nothing is mounted, and the copy is gone
 * afterwards.
 * @throws FilesImpossible, NoSuchFile when there is no such disk, ScratchUnusable, or the signal's reason
 */
export async function withExtImage<T>(
  source: RestoreSource,
  options: FilesOptions,
  use: (open: OpenImage) => Promise<T>,
): Promise<T> {
  const { device, places, signal } = options;
  const { snapshot, disks } = source.manifest;
  const disk = disks.find((one) => one.device === device);
  if (!disk) {
    const problem = `there is no such disk: the snapshot has ${disks.map((one) => one.device).join(', ')}`;
    throw new UmlsnapError('NoSuchFile', { snapshot, disk: device, path: '/', problem });
  }
  const user = process.geteuid?.() === 0 ? options.user : null;
  const owner = user === null ? null : { uid: user, gid: user };
  const place = await placeFor(source, disk, places);
  return await withScratch(place.path, owner, async (scratch) => {
    await requireRoom(scratch, disk, place.copiedBytes);
    const { path, filesystem } = await privateCopy(source, disk, scratch, signal);
    if (owner) await chown(path, owner.uid, owner.gid);
    const warnings = filesystem.ext?.needsRecovery ? await replayJournal(path, disk, user, signal) : [];
    return await use({ image: new ExtImage(path, scratch, user, signal), warnings });
  });
}

async function privateCopy(
  source: RestoreSource,
  disk: ManifestDisk,
  scratch: string,
  signal: AbortSignal,
): Promise<{ path: string; filesystem: Filesystem }> {
  const refuse = (problem: string) =>
    new UmlsnapError('FilesImpossible', { problem: `${disk.device}: ${problem}` });
  const copied = await copyDisk(source, disk, join(scratch, `${disk.device}.img`), { signal });
  if ('problem' in copied) throw refuse(copied.problem);
  const content = await contentOfFile(copied.path);
  if (content.is === 'partitions')
    throw refuse(
      `it has a partition table (${content.table}), and what lies in partitions can't be looked into`,
    );
  if (content.is === 'other') throw refuse(`it holds no ext2, ext3 or ext4 filesystem (${content.what})`);
  if (content.filesystem.ext === null)
    throw refuse(
      `it holds a filesystem of type ${content.filesystem.type}, and files can be taken out of ext2, ext3 and ext4 only`,
    );
  return { path: copied.path, filesystem: content.filesystem };
}

/** 1: something was corrected, as it is there to do. */
const replayedExitCodes = [0, 1];

async function replayJournal(
  image: string,
  disk: ManifestDisk,
  user: number | null,
  signal: AbortSignal,
): Promise<string[]> {
  const maxFileBytes = Math.max(disk.sizeBytes, disk.backing?.sizeBytes ?? 0);
  const sandbox = { image, user, maxFileBytes, isImageWritable: true, outputDirectory: null };
  try {
    const options = { okExitCodes: replayedExitCodes, signal };
    await runInToolSandbox(sandbox, 'e2fsck', ['-fy', '-E', 'journal_only', '{image}'], options);
    return [];
  } catch (error) {
    if (!isError(error, 'CommandFailed')) throw error;
    return [
      `the journal of ${disk.device} could not be replayed (${error.facts.problem}): what was last written may be missing`,
    ];
  }
}
