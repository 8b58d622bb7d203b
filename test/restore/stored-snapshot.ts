import { existsSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { contentOfFile } from '../../src/image/read-content.js';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { type Manifest, sealManifest } from '../../src/store/manifest.js';
import { makeImage, type Piece, sha256sum } from '../image/make-image.js';

interface DiskWish {
  device: string;
  image: { sizeBytes: number; pieces: Piece[] };
  /** Makes it a COW disk; `path` is where its header says that the backing file lies. */
  backing?: Pick<DiskWish, 'image'> & { path: string; mtime: string };
}

/** Lays a snapshot's files into `dir` and says what is in them, as a store does. */
export async function storeSnapshot(dir: string, wishes: DiskWish[]): Promise<RestoreSource> {
  await mkdir(join(dir, 'backing'), { recursive: true });
  const disks: Manifest['disks'] = [];
  for (const { device, image, backing } of wishes) {
    const kind = backing ? 'cow' : 'raw';
    const file = `${device}.${backing ? 'cow' : 'img'}`;
    const facts = {
      device,
      kind,
      sourcePath: `/srv/uml/${file}`,
      mtime: '2026-01-02T03:04:05.678Z',
    } as const;
    const disk = { ...facts, ...(await laid(join(dir, file), image)), storedBytes: 0 };
    disks.push({ ...disk, ...(backing && { backing: await storeBacking(dir, backing) }) });
  }
  const manifest = sealManifest({
    ...{ format: 'umlsnap/1', snapshot: 'debian@20260102T030405Z', guest: 'debian' },
    ...{ job: '20260102T030405Z-0001', takenAt: '2026-01-02T03:04:05.000Z', kernel: '6.1.0' },
    ...{ consistency: 'synced', dirtyKib: 0, method: 'copy', pausedMs: 1, labels: {}, pinned: false },
    disks,
  });
  return sourceIn(dir, manifest);
}

export const sourceIn = (dir: string, manifest: Manifest): RestoreSource => ({
  manifest,
  openFile: async (file) => contentOfFile(await open(join(dir, file))),
  openBacking: async (file) => contentOfFile(await open(join(dir, 'backing', file))),
});

async function storeBacking(dir: string, { path, image, mtime }: NonNullable<DiskWish['backing']>) {
  return { sourcePath: path, mtime, ...(await laid(join(dir, 'backing', `${basename(path)}.img`), image)) };
}

/** Makes an image, if it is not there yet. */
async function laid(path: string, { sizeBytes, pieces }: DiskWish['image']) {
  if (!existsSync(path)) await makeImage(path, sizeBytes, pieces);
  return { file: basename(path), sizeBytes, sha256: await sha256sum(path) };
}
