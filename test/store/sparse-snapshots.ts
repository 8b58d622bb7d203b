import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentOfFile } from '../../src/image/read-content.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { SealDisk } from '../../src/store/seal.js';
import type { SnapshotContent, Store } from '../../src/store/store.js';
import { isSound, type SoundSnapshot } from '../../src/store/stored-snapshots.js';
import { makeImage, type Piece } from '../image/make-image.js';
import { runTool } from '../support/run-tool.js';
import { captureDisk, draftOf, storeBackingOf } from './capture-of-tests.js';

/** An image of random data in these places and holes elsewhere. */
export interface ImageSpec {
  sizeBytes?: number;
  pieces?: Piece[];
  /** All of its bytes, instead. */
  bytes?: Buffer;
  /** A file whose content it is, instead. */
  from?: string;
  /** Path of a backing file: makes the disk COW. */
  backing?: string;
}

/** Pieces of every kind: at the very beginning, small ones in crowds, one over many chunks, and one that ends the image in mid-block. */
export const sparseImage = {
  sizeBytes: 30_000_123,
  pieces: [
    { offset: 0, length: 100 },
    ...Array.from({ length: 200 }, (_, index) => ({ offset: 1_048_576 + index * 16_384, length: 4096 })),
    { offset: 8_388_608, length: 3_500_000 },
    { offset: 29_999_000, length: 1_123 },
  ],
} satisfies ImageSpec;
/** All hole: not one piece comes of it. */
export const emptyImage = { sizeBytes: 5_000_001, pieces: [] } satisfies ImageSpec;

/** A COW disk, whose backing file is made in `dir`, and an image that is all hole. */
export async function cowAndHole(dir: string) {
  const backing = join(dir, 'base.img');
  await makeImage(backing, 9_000_000, [{ offset: 1_000_000, length: 2_000_000 }]);
  return { ubd0: { ...sparseImage, backing }, ubd3: emptyImage };
}

/** A whole snapshot in a directory store, as a capture leaves it; of one small disk, where nobody asks for others. */
export async function sealSparse(
  store: DirectoryStore,
  snapshot: string,
  images: Record<string, ImageSpec> = { ubd0: { bytes: Buffer.alloc(70_001, 'a disk ') } },
  changes: Parameters<typeof draftOf>[3] = {},
): Promise<SoundSnapshot> {
  const [guest = '', directory = ''] = snapshot.split('@');
  const incoming = await store.begin(guest, changes.job ?? `job-${directory}`);
  const disks: SealDisk[] = [];
  for (const [device, spec] of Object.entries(images)) {
    const { backing, from } = spec;
    const stored = backing === undefined ? undefined : await storeBackingOf(store, incoming, backing);
    const disk = await captureDisk(incoming, device, (path) => lay(spec, path), stored);
    disks.push({ ...disk, sourcePath: from ?? disk.sourcePath });
  }
  const takenAt = directory.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6.000Z');
  await store.seal(incoming, draftOf(incoming, disks, directory, { takenAt, ...changes }));
  return await soundIn(store, snapshot);
}

async function lay({ sizeBytes = 0, pieces, bytes, from }: ImageSpec, path: string): Promise<void> {
  if (from !== undefined) await runTool('cp', ['--sparse=always', from, path]);
  else if (bytes !== undefined) await writeFile(path, bytes, { mode: 0o600 });
  else await makeImage(path, sizeBytes, pieces);
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
export async function tamperedIn(store: Store, snapshot: string, dir: string): Promise<SnapshotContent> {
  const content = await contentIn(store, snapshot);
  const path = join(dir, 'tampered.img');
  await makeImage(path, content.manifest.disks[0]?.sizeBytes ?? 0, [{ offset: 4096, length: 1 }]);
  return { ...content, openFile: async () => contentOfFile(await open(path)) };
}
