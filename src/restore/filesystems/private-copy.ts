import { type FileHandle, open, rm } from 'node:fs/promises';
import { errnoOf } from '../../errors.js';
import { readCowHeader } from '../../image/cow-file.js';
import type { ImageContent } from '../../image/image-content.js';
import { runImageWork } from '../../image/image-thread.js';
import { cloneStart } from '../../image/linux-calls.js';
import { copyContent } from '../../image/read-content.js';
import { copySparse } from '../../image/sparse-copy.js';
import type { ManifestDisk } from '../../store/manifest.js';
import type { RestoreOptions, RestoreSource } from '../restore-source.js';

/** The disk as its guest saw it, or why there can be none. */
export type Copied = { path: string } | { problem: string };

/**
 * Writes the raw image of a disk of a snapshot to a new file: of a COW disk, what its two files make together. Shares the
 * blocks where the filesystem can, and is sparse where it can't. Nothing is made durable.
 * @throws errors of the store, and of the target
 */
export async function copyDisk(
  source: RestoreSource,
  disk: ManifestDisk,
  path: string,
  options: RestoreOptions,
): Promise<Copied> {
  const target = await open(path, 'wx+', 0o600);
  try {
    if (!disk.backing) {
      await withContent(source.openFile(disk.file), (content) =>
        copyWhole(content, disk.sizeBytes, target, options),
      );
      return { path };
    }
    const { file, sizeBytes } = disk.backing;
    await withContent(source.openBacking(file), (content) => copyWhole(content, sizeBytes, target, options));
    return await withContent(source.openFile(disk.file), (content) =>
      withFile(content, disk.sizeBytes, `${path}.cow`, options, (cow) =>
        mergeInto(target, cow, sizeBytes, path, options),
      ),
    );
  } finally {
    await target.close();
  }
}

async function mergeInto(
  target: FileHandle,
  cow: FileHandle,
  backingBytes: number,
  path: string,
  { signal, throttled }: RestoreOptions,
): Promise<Copied> {
  const parsed = await readCowHeader(cow, backingBytes);
  if ('problem' in parsed) return parsed;
  const fds = { cowFd: cow.fd, targetFd: target.fd };
  await runImageWork(
    { kind: 'mergeCow', ...fds, layout: parsed.layout, ...(throttled && { throttled }) },
    { signal },
  );
  return { path };
}

async function withContent<T>(
  opening: Promise<ImageContent>,
  use: (content: ImageContent) => Promise<T>,
): Promise<T> {
  const content = await opening;
  try {
    return await use(content);
  } finally {
    await content.close();
  }
}

/** What comes as a stream can be read in any order only once it lies in a file. */
async function withFile<T>(
  content: ImageContent,
  sizeBytes: number,
  temporary: string,
  options: RestoreOptions,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  if (content.from === 'file') return await use(content.handle);
  const file = await open(temporary, 'wx+', 0o600);
  try {
    await copyWhole(content, sizeBytes, file, options);
    return await use(file);
  } finally {
    await file.close();
    await rm(temporary, { force: true });
  }
}

async function copyWhole(
  content: ImageContent,
  sizeBytes: number,
  target: FileHandle,
  { signal, throttled }: RestoreOptions,
): Promise<void> {
  const options = { signal, ...(throttled && { throttled }) };
  if (content.from === 'stream') await copyContent(content, sizeBytes, target.fd, options);
  else if (!(await sharesBlocks(content.handle, target)))
    await copySparse(content.handle.fd, target.fd, options);
}

async function sharesBlocks(source: FileHandle, target: FileHandle): Promise<boolean> {
  try {
    await cloneStart(source.fd, target.fd, 0);
    return true;
  } catch (error) {
    // No such thing here, or not between these two; what is wrong beyond that, the copy will meet.
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}
