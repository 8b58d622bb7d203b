import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compression } from '../../../src/config/store-config.js';
import { restoreToDirectory } from '../../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../../src/store/directory-store.js';
import type { SnapshotContent, Store } from '../../../src/store/store.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { type Verdict, verifySnapshot } from '../../../src/verify/verify-snapshot.js';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';
import { contentIn, cowAndHole, sealSparse } from '../sparse-snapshots.js';

const { signal } = new AbortController();

/** Of a COW disk, its backing file and an image that is one hole. */
export const pair = 'pair@20261121T031500Z';
/** Of one small disk. */
export const small = 'small@20261121T031500Z';

let sealedDir: string | undefined;

/** Snapshots in a directory store to make archives of, sealed once; `dropArchiveScene` removes them. */
export async function sealedSnapshots() {
  sealedDir ??= await sealAll();
  const source = sourceIn(sealedDir);
  return { source, content: (snapshot: typeof pair | typeof small) => contentIn(source, snapshot) };
}

export async function dropArchiveScene(): Promise<void> {
  if (sealedDir !== undefined) await removeTempDir(sealedDir);
  sealedDir = undefined;
}

const sourceIn = (dir: string) => new DirectoryStore({ name: 'source', path: join(dir, 'source') });

async function sealAll(): Promise<string> {
  const dir = await makeTempDir();
  const source = sourceIn(dir);
  await source.prepare(null);
  await sealSparse(source, pair, await cowAndHole(dir));
  const pieces = [
    { offset: 4096, length: 5000 },
    { offset: 290_000, length: 10_123 },
  ];
  await sealSparse(source, small, { ubd0: { sizeBytes: 300_123, pieces } });
  return dir;
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
  const restored = contentIn(store, snapshot).then((content) => restoreToDirectory(content, to, { signal }));
  return await restored.then(() => null).catch((error: unknown) => error);
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
