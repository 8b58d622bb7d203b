import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { stampOf } from '../../src/image/open-disk.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { SealDisk } from '../../src/store/seal.js';
import type { SoundSnapshot } from '../../src/store/stored-snapshots.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import type { SnapshotContent, Store } from '../../src/store/store.js';
import { makeImage, type Piece } from '../image/make-image.js';
import { runTool } from '../support/run-tool.js';
import { draftOf } from './capture-of-tests.js';

export interface ImageWish {
  sizeBytes: number;
  pieces: Piece[];
  /** Path of a backing file: makes the disk COW. */
  backing?: string;
  /** A file whose content it is, instead of the pieces. */
  from?: string;
}

/** Pieces of every kind: at the very beginning, small ones in crowds, one over many chunks, and one that ends the image in mid-block. */
export const sparseImage: ImageWish = {
  sizeBytes: 30_000_123,
  pieces: [
    { offset: 0, length: 100 },
    ...Array.from({ length: 200 }, (_, index) => ({ offset: 1_048_576 + index * 16_384, length: 4096 })),
    { offset: 8_388_608, length: 3_500_000 },
    { offset: 29_999_000, length: 1_123 },
  ],
};
/** All hole: not one piece comes of it. */
export const emptyImage: ImageWish = { sizeBytes: 5_000_001, pieces: [] };

/** A whole snapshot of sparse images in a directory store, as a capture leaves it. */
export async function sealSparse(
  store: DirectoryStore,
  snapshot: string,
  images: Record<string, ImageWish>,
  changes: Parameters<typeof draftOf>[3] = {},
): Promise<SoundSnapshot> {
  const [guest = '', directory = ''] = snapshot.split('@');
  const incoming = await store.begin(guest, `job-${directory}`);
  const disks: SealDisk[] = [];
  for (const [device, wish] of Object.entries(images)) {
    const file = `${device}.${wish.backing === undefined ? 'img' : 'cow'}`;
    const path = incoming.pathOf(file);
    if (wish.from === undefined) await makeImage(path, wish.sizeBytes, wish.pieces);
    else await runTool('cp', ['--sparse=always', wish.from, path]);
    const handle = await open(path, 'r');
    const stamp = await stampOf(handle.fd).finally(() => handle.close());
    const facts = { device, sourcePath: `/srv/uml/${file}`, file, sizeBytes: wish.sizeBytes, stamp };
    const mtime = '2026-11-21T03:14:00.000Z';
    if (wish.backing === undefined) disks.push({ ...facts, kind: 'raw', mtime });
    else {
      const source = await open(wish.backing, 'r');
      const asked = { device, path: wish.backing, fd: source.fd };
      const backing = await store.storeBacking(incoming, asked).finally(() => source.close());
      disks.push({ ...facts, kind: 'cow', mtime, backing });
    }
  }
  const takenAt = directory.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6.000Z');
  await store.seal(incoming, draftOf(incoming, disks, directory, { takenAt, ...changes }));
  return await soundIn(store, snapshot);
}

/** @throws when it is not there, or not sound */
export async function soundIn(store: Store, snapshot: string): Promise<SoundSnapshot> {
  const stored = await store.read(snapshot);
  if (isSound(stored)) return stored;
  throw new Error(`${snapshot} is damaged: ${stored.damaged}`);
}

/** A snapshot as another store takes it. */
export async function contentIn(store: Store, snapshot: string): Promise<SnapshotContent> {
  const stored = await soundIn(store, snapshot);
  return {
    manifest: stored.manifest,
    openFile: (file) => store.openFile(stored, file),
    openBacking: (file) => store.openBacking(stored, file),
  };
}

/** A snapshot whose one file is not what its manifest says. */
export async function tamperedIn(
  store: DirectoryStore,
  snapshot: string,
  dir: string,
): Promise<SnapshotContent> {
  const content = await contentIn(store, snapshot);
  const path = join(dir, 'tampered.img');
  await rm(path, { force: true });
  await makeImage(path, content.manifest.disks[0]?.sizeBytes ?? 0, [{ offset: 4096, length: 1 }]);
  const openFile = async () => {
    const handle = await open(path, 'r');
    return { from: 'file' as const, handle, close: () => handle.close() };
  };
  return { ...content, openFile };
}
