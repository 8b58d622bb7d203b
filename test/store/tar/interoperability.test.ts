import { mkdir, open, readFile, stat, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatManifest, type Manifest, sealManifest } from '../../../src/store/manifest.js';
import { checkArchive } from '../../../src/store/tar/check-archive.js';
import { DataDigest } from '../../../src/image/data-digest.js';
import { contentOfFile } from '../../../src/image/read-content.js';
import type { SnapshotContent } from '../../../src/store/store.js';
import { makeImage, withOpen } from '../../image/make-image.js';
import { runTool } from '../../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';
import {
  type ArchiveScene,
  archiveTo,
  blocksOf,
  dropArchiveScene,
  pair,
  sameBytes,
  sourceFiles,
  tarStoreIn,
  verdictOf,
  withArchiveScene,
} from './archive-scene.js';

afterAll(dropArchiveScene);

const programs = ['tar', 'bsdtar'].filter(
  (program) => existsSync(`/usr/bin/${program}`) || existsSync(`/bin/${program}`),
);
if (programs.length < 2) console.warn('SKIPPED: bsdtar is not installed');

/** A block for each piece that begins or ends in the middle of one. */
const slackBlocks = 64;

async function expectSameFiles(scene: ArchiveScene, directory: string): Promise<void> {
  const content = await scene.content(pair);
  expect(await readFile(join(directory, 'manifest.json'), 'utf8')).toBe(formatManifest(content.manifest));
  for (const [name, path] of await sourceFiles(scene.source, content)) {
    const unpacked = join(directory, name);
    expect(await sameBytes(unpacked, path), name).toBe(true);
    expect(await blocksOf(unpacked), name).toBeLessThanOrEqual((await blocksOf(path)) + slackBlocks);
  }
  const [backing] = content.manifest.disks.flatMap((disk) => disk.backing ?? []);
  const { mtimeMs } = await stat(join(directory, 'backing', backing?.file ?? ''));
  expect(Math.floor(mtimeMs / 1000)).toBe(Math.floor(Date.parse(backing?.mtime ?? '') / 1000));
}

/** The snapshot's files in a directory, under the names that an archive gives them. */
async function layOut(scene: ArchiveScene, directory: string): Promise<string[]> {
  const content = await scene.content(pair);
  await mkdir(join(directory, 'backing'), { recursive: true });
  await writeFile(join(directory, 'manifest.json'), formatManifest(content.manifest));
  const names = ['manifest.json'];
  for (const [name, path] of await sourceFiles(scene.source, content)) {
    await runTool('cp', ['--sparse=always', '--preserve=timestamps', path, join(directory, name)]);
    names.push(name);
  }
  return names;
}

describe('an archive of ours', () => {
  test.each(['zstd', 'gzip', 'none'] as const)(
    '(%s) gives tar and bsdtar images that are identical, as sparse, and as old, and is sound for its compressor, tail and all',
    async (compression) => {
      await withArchiveScene(async (scene) => {
        const store = await tarStoreIn(scene.dir, compression);
        await store.receive(await scene.content(pair), {});
        const { directory: kept } = await store.read(pair);
        const plain = join(scene.dir, 'exported');
        await archiveTo(plain, await scene.content(pair), compression);
        if (compression !== 'none') await runTool(compression, ['-t', '-q', kept]);
        // With a store's tail, and without it; by its name, and by one that tells nothing.
        for (const path of [kept, plain]) {
          for (const program of programs) {
            const out = join(scene.dir, `out-${program}-${basename(path)}`);
            await mkdir(out);
            expect((await runTool(program, ['-xSf', path, '-C', out])).toString()).toBe('');
            await expectSameFiles(scene, out);
          }
        }
      });
    },
  );
});

const makers: [string, string, string[], string][] = [
  ['GNU tar, sparse 1.0', 'tar', ['-S', '--format=posix', '--sparse-version=1.0'], '.tar'],
  ['GNU tar, sparse 1.0', 'tar', ['-S', '--format=posix', '--sparse-version=1.0'], '.tar.zst'],
  ['GNU tar, sparse 0.1', 'tar', ['-S', '--format=posix', '--sparse-version=0.1'], '.tar.gz'],
  ['GNU tar, dense', 'tar', ['--format=posix'], '.tar.zst'],
  ['GNU tar, dense, in its own format', 'tar', ['--format=gnu'], '.tar'],
  ['bsdtar, sparse', 'bsdtar', ['--format=pax', '--read-sparse'], '.tar.gz'],
  ['bsdtar, dense', 'bsdtar', ['--format=pax', '--no-read-sparse'], '.tar'],
];
const compressions: Record<string, string[]> = { '.tar': [], '.tar.zst': ['--zstd'], '.tar.gz': ['-z'] };

describe('an archive of the same files by others', () => {
  let files: string;
  let names: string[];
  let manifest: Manifest;
  beforeAll(async () => {
    files = await makeTempDir();
    await withArchiveScene(async (scene) => {
      names = await layOut(scene, files);
      manifest = (await scene.content(pair)).manifest;
    });
  });
  afterAll(() => removeTempDir(files));

  test.each(makers.filter(([, program]) => programs.includes(program)))(
    '%s (%s %j %s) is read, checked and given back as sparse as its map',
    async (_, program, options, extension) => {
      await withArchiveScene(async ({ dir }) => {
        const store = await tarStoreIn(dir, 'none');
        const path = join(store.path, 'pair', `20261121T031500Z${extension}`);
        await mkdir(dirname(path), { recursive: true });
        const compress = compressions[extension] ?? [];
        await runTool(program, ['-c', ...options, ...compress, '-f', path, '-C', files, ...names]);
        await checkArchive(path, manifest, {});
        // File by file too, from a store that somebody has put it into.
        if (extension === '.tar.gz') expect(await verdictOf(store, pair)).toMatchObject({ ok: true });
      });
    },
  );

  test('with the names that `tar -c .` gives is read when the manifest comes first; in the old sparse format it is refused in clear words', async () => {
    await withArchiveScene(async ({ dir }) => {
      const made = async (name: string, ...args: string[]) => {
        await runTool('tar', ['-cSf', join(dir, name), '-C', files, ...args]);
        return checkArchive(join(dir, name), manifest, {});
      };
      const [first = '', ...others] = names.map((name) => `./${name}`);
      await made('dotted', '--format=posix', '--no-recursion', '.', first, './backing', ...others);
      for (const [given, problem] of [
        [
          made('late', '--format=posix', ...names.toReversed()),
          /^its first entry is .* and not manifest.json$/,
        ],
        [made('old', '--format=gnu', ...names), /--format=posix/],
      ] as const) {
        await expect(given).rejects.toMatchObject({
          code: 'SnapshotDamaged',
          facts: { problem: expect.stringMatching(problem) },
        });
      }
    });
  });
});

describe('an image as sparse as they come', () => {
  test('of 8 TiB with two blocks of data goes into an archive and comes back, by us and by GNU tar', async () => {
    await withArchiveScene(async (scene) => {
      const sizeBytes = 8 * 2 ** 40;
      const image = join(scene.dir, 'huge.img');
      await makeImage(image, sizeBytes, [
        { offset: 2 ** 33, length: 4096 },
        { offset: sizeBytes - 4096, length: 4096 },
      ]);
      const content = await hugeContent(scene, image, sizeBytes);
      const path = join(scene.dir, 'huge.tar.zst');
      await archiveTo(path, content, 'zstd');
      await checkArchive(path, content.manifest, {});
      expect((await stat(path)).size).toBeLessThan(64 * 1024);
      await runTool('tar', ['-xSf', path, '-C', scene.dir, 'ubd0.img']);
      const unpacked = join(scene.dir, 'ubd0.img');
      expect((await stat(unpacked)).size).toBe(sizeBytes);
      for (const offset of [2 ** 33, sizeBytes - 4096])
        expect(await blockAt(unpacked, offset)).toEqual(await blockAt(image, offset));
    });
  });
});

/** Nobody waits for the hash of 8 TiB of zeros: the manifest has the one of the data. */
async function hugeContent(scene: ArchiveScene, image: string, sizeBytes: number): Promise<SnapshotContent> {
  const { manifest } = await scene.content(pair);
  const { checksum: _, disks, ...facts } = manifest;
  const digest = new DataDigest();
  for (const offset of [2 ** 33, sizeBytes - 4096]) digest.update(offset, await blockAt(image, offset));
  const file = { file: 'ubd0.img', kind: 'raw' as const, sizeBytes, dataSha256: digest.digest(sizeBytes) };
  const [disk] = disks;
  if (disk === undefined) throw new Error('the scene has no disk');
  const { backing: __, ...rest } = disk;
  return {
    manifest: sealManifest({ ...facts, disks: [{ ...rest, ...file }] }),
    openFile: async () => contentOfFile(await open(image, 'r')),
    openBacking: () => Promise.reject(new Error('it has none')),
  };
}

const blockAt = (path: string, offset: number): Promise<Buffer> =>
  withOpen(path, 'r', async (file) => (await file.read(Buffer.alloc(4096), 0, 4096, offset)).buffer);
