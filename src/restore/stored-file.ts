import type { FileHandle } from 'node:fs/promises';
import { errnoOf, UmlsnapError } from '../errors.js';
import type { ManifestDisk } from '../store/manifest.js';
import type { RestoreSource } from './restore-source.js';

/** A file of a snapshot: what the manifest says of it, and the way to its bytes. */
export interface StoredFile {
  snapshot: string;
  /** Its name in the store. */
  file: string;
  sizeBytes: number;
  sha256: string;
  open(): Promise<FileHandle>;
}

export type ManifestBacking = NonNullable<ManifestDisk['backing']>;

/** The disk's image or COW file. */
export function diskFile(source: RestoreSource, disk: ManifestDisk): StoredFile {
  const { file, sizeBytes, sha256 } = disk;
  const { snapshot } = source.manifest;
  return { snapshot, file, sizeBytes, sha256, open: () => source.openFile(file) };
}

/** A backing file of the snapshot. */
export function backingFile(source: RestoreSource, backing: ManifestBacking): StoredFile {
  const { file, sizeBytes, sha256 } = backing;
  const { snapshot } = source.manifest;
  return { snapshot, file, sizeBytes, sha256, open: () => source.openBacking(file) };
}

/**
 * Lets `use` read the file.
 * @throws SnapshotDamaged when it is not there or its disk is bad; what else keeps it closed says nothing of the snapshot
 */
export async function withStoredFile<T>(
  stored: StoredFile,
  use: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  const handle = await stored.open().catch((error: unknown) => {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') throw damaged(stored, 'is missing', error);
    if (errno === 'EIO') throw damaged(stored, "can't be opened (EIO)", error);
    throw error;
  });
  try {
    return await use(handle);
  } finally {
    await handle.close();
  }
}

/**
 * Holds what was read against the manifest.
 * @throws SnapshotDamaged
 */
export function requireSound(stored: StoredFile, read: { sizeBytes: number; sha256: string }): void {
  if (read.sizeBytes !== stored.sizeBytes) {
    throw damaged(stored, `has ${read.sizeBytes} bytes where the manifest says ${stored.sizeBytes}`);
  }
  if (read.sha256 !== stored.sha256) throw damaged(stored, 'does not match its checksum');
}

export function damaged(stored: StoredFile, what: string, cause?: unknown): UmlsnapError<'SnapshotDamaged'> {
  const { snapshot, file } = stored;
  return new UmlsnapError('SnapshotDamaged', { snapshot, problem: `${file} ${what}` }, cause);
}
