import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, UmlsnapError } from '../../errors.js';
import type { ImageContent } from '../../image/image-content.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { describeChange, type Stamp, stampOf, toStamp } from '../../image/open-disk.js';
import { isAlive, ownIdentity } from '../../process-identity.js';
import { manifestName } from '../layout.js';
import { formatManifest } from '../manifest.js';
import type { SnapshotContent } from '../store.js';
import { backingFile, checkStoredFile, copyStoredFile, diskFile, type StoredFile } from '../stored-file.js';

/**
 * A snapshot as restic takes it, in a private directory, by names that are the same in every snapshot and on every host:
 *
 *     manifest.json   disks/ubd0.img   backing/SHA256.img
 *
 * Files that lie in a directory under their own names are not copied: `disks` and `backing` are then symbolic links to that
 * directory, which restic follows on its way to a file (it stores a link as a link only where it is the file itself). What comes
 * as a stream is written into a directory of ours first.
 */
export interface HandOver {
  directory: string;
  /** Relative to the directory. */
  files: { path: string; sizeBytes: number }[];
  /** That no file was changed since it was held against its checksum. @throws SnapshotDamaged */
  requireUntouched(): Promise<void>;
}

export const disksFolder = 'disks';
export const backingFolder = 'backing';

/** GUEST.PID-STARTTICKS.RANDOM: who works in it, so that the next one knows whether anybody does. */
const leftoverName = /^.+\.(\d+)-(\d+)\.[0-9a-f]{8}$/;

/**
 * Runs `use` with the snapshot laid out for restic, every file held against its checksum. Nothing of it is left afterwards.
 * @throws SnapshotDamaged
 */
export async function withHandOver<T>(
  root: string,
  source: SnapshotContent,
  options: ImageWorkOptions,
  use: (handOver: HandOver) => Promise<T>,
): Promise<T> {
  await removeLeftovers(root);
  const { pid, startTicks } = ownIdentity();
  const name = `${source.manifest.guest}.${pid}-${startTicks}.${randomBytes(4).toString('hex')}`;
  const directory = join(root, name);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const opened: OpenedFile[] = [];
  try {
    const text = formatManifest(source.manifest);
    await writeFile(join(directory, manifestName), text, { mode: 0o600 });
    const files = [{ path: manifestName, sizeBytes: Buffer.byteLength(text) }];
    for (const [folder, stored] of Object.entries(foldersOf(source))) {
      if (stored.length === 0) continue;
      const there = await openAll(stored, opened);
      await layOut(join(directory, folder), there, options);
      files.push(...stored.map(({ file, sizeBytes }) => ({ path: join(folder, file), sizeBytes })));
    }
    return await use({ directory, files, requireUntouched: () => requireUntouched(opened) });
  } finally {
    for (const { content } of opened) await content.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** What killed ones have left; the links in it are removed, and what they lead to is not touched. */
async function removeLeftovers(root: string): Promise<void> {
  const entries = await readdir(root).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
  for (const entry of entries) {
    const owner = leftoverName.exec(entry);
    if (owner === null || isAlive({ pid: Number(owner[1]), startTicks: Number(owner[2]) })) continue;
    await rm(join(root, entry), { recursive: true, force: true });
  }
}

/** Disks may share a backing file: it is there once. */
function foldersOf(source: SnapshotContent) {
  const { disks } = source.manifest;
  const backings = disks.flatMap(({ backing }) => (backing ? [backingFile(source, backing)] : []));
  return {
    [disksFolder]: disks.map((disk) => diskFile(source, disk)),
    [backingFolder]: [...new Map(backings.map((stored) => [stored.file, stored])).values()],
  };
}

interface OpenedFile {
  stored: StoredFile;
  content: ImageContent;
  /** Where the file lies under its own name, and how it was there; undefined for a stream. */
  place: { path: string; stamp: Stamp } | undefined;
}

async function openAll(files: StoredFile[], opened: OpenedFile[]): Promise<OpenedFile[]> {
  const mine: OpenedFile[] = [];
  for (const stored of files) {
    const content = await stored.open();
    const file: OpenedFile = { stored, content, place: undefined };
    opened.push(file);
    mine.push(file);
    file.place = await placeOf(stored, content);
  }
  return mine;
}

/** The name under which the open file can be found again; proven, since what the kernel calls it may be somebody else's by now. */
async function placeOf({ file }: StoredFile, content: ImageContent): Promise<OpenedFile['place']> {
  if (content.from === 'stream') return undefined;
  const path = await readlink(`/proc/self/fd/${content.handle.fd}`);
  const stamp = await stampOf(content.handle.fd);
  if (basename(path) !== file || (await changeOf(path, stamp)) !== null) return undefined;
  return { path, stamp };
}

async function changeOf(path: string, stamp: Stamp): Promise<string | null> {
  try {
    return describeChange(stamp, toStamp(await lstat(path, { bigint: true })));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'it was removed';
    throw error;
  }
}

async function layOut(folder: string, files: OpenedFile[], options: ImageWorkOptions): Promise<void> {
  const directories = new Set(files.map(({ place }) => place && dirname(place.path)));
  const [directory] = directories;
  if (directories.size > 1 || directory === undefined) return await copyAll(folder, files, options);
  await symlink(directory, folder);
  for (const { stored, content } of files) {
    options.signal?.throwIfAborted();
    // It stays open: it is looked at again.
    await checkStoredFile({ ...stored, open: async () => ({ ...content, close: async () => {} }) }, options);
  }
}

async function copyAll(folder: string, files: OpenedFile[], options: ImageWorkOptions): Promise<void> {
  await mkdir(folder, { mode: 0o700 });
  for (const file of files) {
    const path = join(folder, file.stored.file);
    const target = await open(path, 'wx+', 0o600);
    try {
      await copyStoredFile(file.stored, file.content, target.fd, options);
      file.place = { path, stamp: await stampOf(target.fd) };
    } finally {
      await target.close();
    }
  }
}

async function requireUntouched(files: OpenedFile[]): Promise<void> {
  for (const { stored, place } of files) {
    const change = place === undefined ? null : await changeOf(place.path, place.stamp);
    if (change === null) continue;
    const problem = `${stored.file}: ${change} while it was handed over`;
    throw new UmlsnapError('SnapshotDamaged', { snapshot: stored.snapshot, problem });
  }
}
