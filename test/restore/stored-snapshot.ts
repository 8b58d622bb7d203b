import { existsSync } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readCowHeader } from '../../src/image/cow-file.js';
import { contentOfFile } from '../../src/image/read-content.js';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { type Manifest, sealManifest } from '../../src/store/manifest.js';
import { makeImage, type Piece, sha256sum, withOpen } from '../image/make-image.js';
import { runTool } from '../support/run-tool.js';

interface DiskSpec {
  device: string;
  image: { sizeBytes: number; pieces: Piece[] };
  /** Makes it a COW disk; `path` is where its header says that the backing file lies. */
  backing?: Pick<DiskSpec, 'image'> & { path: string; mtime: string };
}

/** Lays a snapshot's files into `dir` and says what is in them, as a store does. */
export async function storeSnapshot(dir: string, specs: DiskSpec[]): Promise<RestoreSource> {
  await mkdir(join(dir, 'backing'), { recursive: true });
  const disks: Manifest['disks'] = [];
  for (const { device, image, backing } of specs) {
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

/** The files of `storePair`, in its directory. */
export const pairFiles = { cow: 'ubd1.cow', backing: 'backing/base.img.img' };

/** A COW pair by UML's own tool, `ubd1`, as a guest with blocks of 1 KiB leaves it: in 50 groups of 4 KiB half the sectors are its own. */
export async function storePair(dir: string): Promise<RestoreSource> {
  const [cow, path] = [join(dir, pairFiles.cow), join(dir, pairFiles.backing)];
  const image = { sizeBytes: 3_000_320, pieces: [{ offset: 100_000, length: 500_000 }] };
  await mkdir(dirname(path), { recursive: true });
  await laid(path, image);
  await runTool('uml_mkcow', [cow, path]);
  await withOpen(cow, 'r+', async (file) => {
    const header = await readCowHeader(file, image.sizeBytes);
    if (!('layout' in header)) throw new Error(header.problem);
    const { bitmapOffset, dataOffset } = header.layout;
    const groups = Array.from({ length: 50 }, (_, group) => group * 7);
    for (const group of groups) {
      await file.write(Buffer.of(0x33), 0, 1, bitmapOffset + group);
      for (const sector of [0, 4]) {
        const at = dataOffset + group * 4096 + sector * 512;
        await file.write(Buffer.alloc(1024, 1 + (group % 255)), 0, 1024, at);
      }
    }
  });
  const backing = { path: '/srv/uml/base.img', image, mtime: '2025-06-07T08:09:10.123Z' };
  return await storeSnapshot(dir, [{ device: 'ubd1', image, backing }]);
}

export const sourceIn = (dir: string, manifest: Manifest): RestoreSource => ({
  manifest,
  openFile: async (file) => contentOfFile(await open(join(dir, file))),
  openBacking: async (file) => contentOfFile(await open(join(dir, 'backing', file))),
});

async function storeBacking(dir: string, { path, image, mtime }: NonNullable<DiskSpec['backing']>) {
  return { sourcePath: path, mtime, ...(await laid(join(dir, 'backing', `${basename(path)}.img`), image)) };
}

/** Makes an image, if it is not there yet. */
async function laid(path: string, { sizeBytes, pieces }: DiskSpec['image']) {
  if (!existsSync(path)) await makeImage(path, sizeBytes, pieces);
  const { size } = await stat(path);
  return { file: basename(path), sizeBytes: size, sha256: await sha256sum(path) };
}
