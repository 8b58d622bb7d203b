import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import type { ImageContent } from '../image/image-content.js';
import type { Digests, ImageWorkOptions } from '../image/image-work.js';
import { copyContent, digestContent } from '../image/read-content.js';
import { failedSide } from '../image/sparse-copy.js';
import type { ManifestDisk } from './manifest.js';
import type { SnapshotContent } from './store.js';

/** A file of a snapshot: what the manifest says of it, and the way to its bytes. */
export interface StoredFile {
  snapshot: string;
  /** Its name in the store. */
  file: string;
  sizeBytes: number;
  sha256: string;
  /** What it is held against where there is one: the zeros of holes are not hashed for it. */
  dataSha256: string | undefined;
  open(): Promise<ImageContent>;
}

export type ManifestBacking = NonNullable<ManifestDisk['backing']>;

/** The disk's image or COW file. */
export function diskFile(source: SnapshotContent, disk: ManifestDisk): StoredFile {
  const { file, sizeBytes, sha256, dataSha256 } = disk;
  const { snapshot } = source.manifest;
  return { snapshot, file, sizeBytes, sha256, dataSha256, open: () => source.openFile(file) };
}

/** A backing file of the snapshot. */
export function backingFile(source: SnapshotContent, backing: ManifestBacking): StoredFile {
  const { file, sizeBytes, sha256, dataSha256 } = backing;
  const { snapshot } = source.manifest;
  return { snapshot, file, sizeBytes, sha256, dataSha256, open: () => source.openBacking(file) };
}

/**
 * Lets `use` read the file.
 * @throws SnapshotDamaged when it is not there or its disk is bad; what else keeps it closed says nothing of the snapshot
 */
export async function withStoredFile<T>(
  stored: StoredFile,
  use: (content: ImageContent) => Promise<T>,
): Promise<T> {
  const content = await stored.open().catch((error: unknown) => {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') throw damaged(stored, 'is missing', error);
    if (errno === 'EIO') throw damaged(stored, "can't be opened (EIO)", error);
    throw error;
  });
  try {
    // Before it is read: a file on a share may be another one than a moment ago, of any size.
    if (content.from === 'file') requireSize(stored, (await content.handle.stat()).size);
    return await use(content);
  } finally {
    await content.close();
  }
}

/**
 * Copies the file to an open one, sparse, and holds it against the manifest in the same read: what is written is what was
 * hashed. Nothing is made durable.
 * @returns how many bytes of data there were
 * @throws SnapshotDamaged for whatever is wrong with the stored file; errors of the target as they are
 */
export async function copyStoredFile(
  stored: StoredFile,
  content: ImageContent,
  targetFd: number,
  options: ImageWorkOptions = {},
): Promise<{ dataBytes: number }> {
  try {
    const copied = await copyContent(content, stored.sizeBytes, targetFd, options, digestOf(stored));
    requireSound(stored, copied);
    return { dataBytes: copied.dataBytes };
  } catch (error) {
    throw failedSide(error) === 'source' ? unreadable(stored, error) : error;
  }
}

/**
 * Reads the file and holds it against the manifest.
 * @returns how many bytes of data there were
 * @throws SnapshotDamaged
 */
export async function checkStoredFile(
  stored: StoredFile,
  options: ImageWorkOptions = {},
): Promise<{ dataBytes: number }> {
  return await withStoredFile(stored, async (content) => {
    try {
      const read = await digestContent(content, stored.sizeBytes, options, digestOf(stored));
      requireSound(stored, read);
      return { dataBytes: read.dataBytes };
    } catch (error) {
      throw unreadable(stored, error);
    }
  });
}

/** An error of reading the file as what it says of the snapshot; what is no error of the file system's says nothing of it. */
export function unreadable(stored: StoredFile, error: unknown): unknown {
  return errnoOf(error) === undefined ? error : damaged(stored, `can't be read: ${problemOf(error)}`, error);
}

/** The digest that the file is held against. */
function digestOf({ dataSha256 }: Pick<StoredFile, 'dataSha256'>): 'whole' | 'data' {
  return dataSha256 === undefined ? 'whole' : 'data';
}

/**
 * Holds what was read against the manifest.
 * @throws SnapshotDamaged
 */
function requireSound(stored: StoredFile, read: { sizeBytes: number } & Digests): void {
  requireSize(stored, read.sizeBytes);
  const matches =
    stored.dataSha256 === undefined ? read.sha256 === stored.sha256 : read.dataSha256 === stored.dataSha256;
  if (!matches) throw damaged(stored, 'does not match its checksum');
}

function requireSize(stored: StoredFile, foundBytes: number): void {
  if (foundBytes === stored.sizeBytes) return;
  throw damaged(stored, `has ${foundBytes} bytes where the manifest says ${stored.sizeBytes}`);
}

function damaged(stored: StoredFile, what: string, cause?: unknown): UmlsnapError<'SnapshotDamaged'> {
  const { snapshot, file } = stored;
  return new UmlsnapError('SnapshotDamaged', { snapshot, problem: `${file} ${what}` }, cause);
}
