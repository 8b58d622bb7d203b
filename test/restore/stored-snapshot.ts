import { existsSync } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { contentOfFile } from '../../src/image/read-content.js';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { type Manifest, sealManifest } from '../../src/store/manifest.js';
import { makeImage, type Piece, sha256sum } from '../image/make-image.js';

interface StoredImage {
  sizeBytes: number;
  pieces: Piece[];
}

interface DiskWish {
  device: string;
  image: StoredImage;
  /** Makes it a COW disk; `path` is where its header says that the backing file lies. */
  backing?: { path: string; image: StoredImage; mtime: string };
}

const mtime = '2026-01-02T03:04:05.678Z';

/** Lays a snapshot's files into `dir` and says what is in them, as a store does. */
export async function storeSnapshot(dir: string, wishes: DiskWish[]): Promise<RestoreSource> {
  await mkdir(join(dir, 'backing'), { recursive: true });
  const disks: Manifest['disks'] = [];
  for (const { device, image, backing } of wishes) {
    const file = `${device}.${backing ? 'cow' : 'img'}`;
    await makeImage(join(dir, file), image.sizeBytes, image.pieces);
    disks.push({
      ...{ device, kind: backing ? 'cow' : 'raw', sourcePath: `/srv/uml/${file}`, mtime },
      ...(await described(join(dir, file))),
      ...(backing && { backing: await storeBacking(dir, backing) }),
    });
  }
  return sourceOf(dir, disks);
}

/** The port of a check on images that lie in `dir` already, `ubd0.img`, whatever has become of them there: it looks at no checksum. */
export async function sourceOfImages(dir: string, files: string[]): Promise<RestoreSource> {
  const disks = files.map(async (file) => ({
    ...{ device: file.replace(/\..*/, ''), kind: 'raw' as const, sourcePath: `/srv/uml/${file}`, mtime },
    ...{ ...(await roomOf(join(dir, file))), sha256: '0'.repeat(64) },
  }));
  return sourceOf(dir, await Promise.all(disks));
}

/** The port of a restore on files that lie in a directory. */
export function sourceOf(dir: string, disks: Manifest['disks']): RestoreSource {
  const manifest = sealManifest({
    ...{ format: 'umlsnap/1', snapshot: 'debian@20260102T030405Z', guest: 'debian' },
    ...{ job: '20260102T030405Z-0001', takenAt: '2026-01-02T03:04:05.000Z', kernel: '6.1.0' },
    ...{ consistency: 'synced', dirtyKib: 0, method: 'copy', pausedMs: 1, labels: {}, pinned: false },
    disks,
  });
  return {
    manifest,
    openFile: async (file) => contentOfFile(await open(join(dir, file))),
    openBacking: async (file) => contentOfFile(await open(join(dir, 'backing', file))),
  };
}

async function storeBacking(dir: string, backing: NonNullable<DiskWish['backing']>) {
  const path = join(dir, 'backing', `${basename(backing.path)}.img`);
  if (!existsSync(path)) await makeImage(path, backing.image.sizeBytes, backing.image.pieces);
  const { file, sizeBytes, sha256 } = await described(path);
  return { sourcePath: backing.path, file, sizeBytes, mtime: backing.mtime, sha256 };
}

const described = async (path: string) => ({ ...(await roomOf(path)), sha256: await sha256sum(path) });

async function roomOf(path: string) {
  const { size, blocks } = await stat(path);
  return { file: basename(path), sizeBytes: size, storedBytes: blocks * 512 };
}
