import { mkdir, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compression } from '../../../src/config/store-config.js';
import { restoreToDirectory } from '../../../src/restore/restore-to-directory.js';
import { type Verdict, verifySnapshot } from '../../../src/restore/verify-snapshot.js';
import { DirectoryStore } from '../../../src/store/directory-store.js';
import type { SnapshotContent, Store } from '../../../src/store/store.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { writeArchive } from '../../../src/store/tar/write-archive.js';
import { makeImage } from '../../image/make-image.js';
import { makeTempDir, removeTempDir, withTempDir } from '../../support/temp-dir.js';
import { contentIn, emptyImage, type ImageWish, sealSparse, sparseImage } from '../sparse-snapshots.js';

export const signal = new AbortController().signal;

export interface ArchiveScene {
  dir: string;
  source: DirectoryStore;
  /** `pair@…` of a COW disk, its backing file and an image that is one hole; `small@…` of one small disk. */
  content(snapshot: 'pair@20261121T031500Z' | 'small@20261121T031500Z'): Promise<SnapshotContent>;
}

export const pair = 'pair@20261121T031500Z';
export const small = 'small@20261121T031500Z';

const smallImage: ImageWish = {
  sizeBytes: 300_123,
  pieces: [
    { offset: 4096, length: 5000 },
    { offset: 290_000, length: 10_123 },
  ],
};

interface Sealed {
  sealedDir: string;
  source: DirectoryStore;
}

let sealed: Sealed | undefined;

/**
 * Lets `use` have snapshots in a directory store, to make archives of, and a fresh directory. The snapshots are sealed once for
 * a file of tests; `dropArchiveScene` removes them.
 */
export async function withArchiveScene<T>(use: (scene: ArchiveScene) => Promise<T>): Promise<T> {
  sealed ??= await sealAll();
  const { source } = sealed;
  return withTempDir((dir) => use({ dir, source, content: (snapshot) => contentIn(source, snapshot) }));
}

export async function dropArchiveScene(): Promise<void> {
  if (sealed !== undefined) await removeTempDir(sealed.sealedDir);
  sealed = undefined;
}

async function sealAll(): Promise<Sealed> {
  const sealedDir = await makeTempDir();
  const source = new DirectoryStore({ name: 'source', path: join(sealedDir, 'source') });
  await source.prepare(null);
  const backing = join(sealedDir, 'base.img');
  await makeImage(backing, 9_000_000, [{ offset: 1_000_000, length: 2_000_000 }]);
  await sealSparse(source, pair, { ubd0: { ...sparseImage, backing }, ubd3: emptyImage });
  await sealSparse(source, small, { ubd0: smallImage });
  return { sealedDir, source };
}

/** Writes an archive, as an export does. */
export async function archiveTo(
  path: string,
  content: SnapshotContent,
  compression: Compression,
): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await writeArchive(content, { fd: file.fd, compression });
  } finally {
    await file.close();
  }
}

export async function tarStoreIn(dir: string, compression: Compression): Promise<TarStore> {
  const store = new TarStore({ name: 'archives', path: join(dir, `archives-${compression}`), compression });
  await store.prepare(null);
  return store;
}

/** What verify says of a snapshot; of one that is listed as damaged, what is wrong with it. */
export async function verdictOf(store: Store, snapshot: string): Promise<Verdict> {
  const stored = await store.read(snapshot);
  if (!('manifest' in stored)) return { ok: false, problem: stored.damaged, readBytes: 0 };
  return verifySnapshot(await contentIn(store, snapshot), { signal });
}

/** Restores to a fresh directory; null when it went well, otherwise what was thrown. */
export async function restoreFailure(store: Store, snapshot: string, to: string): Promise<unknown> {
  await mkdir(to);
  try {
    await restoreToDirectory(await contentIn(store, snapshot), to, { signal });
    return null;
  } catch (error) {
    return error;
  }
}

/** The files of the sealed snapshot as they lie in the directory store, by the names that an archive gives them. */
export async function sourceFiles(
  source: DirectoryStore,
  content: SnapshotContent,
): Promise<Map<string, string>> {
  const stored = await source.read(content.manifest.snapshot);
  const files = new Map<string, string>();
  for (const { file, backing } of content.manifest.disks) {
    files.set(file, join(stored.directory, file));
    if (backing) files.set(`backing/${backing.file}`, join(source.path, '.backing', backing.file));
  }
  return files;
}

export async function sameBytes(one: string, other: string): Promise<boolean> {
  return (await readFile(one)).equals(await readFile(other));
}

export async function blocksOf(path: string): Promise<number> {
  return (await stat(path)).blocks;
}
