import { mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { formatManifest } from '../../../src/store/manifest.js';
import { checkArchive } from '../../../src/store/tar/check-archive.js';
import { DataDigest } from '../../../src/image/data-digest.js';
import { contentOfFile } from '../../../src/image/read-content.js';
import { sealManifest } from '../../../src/store/manifest.js';
import type { SnapshotContent } from '../../../src/store/store.js';
import { makeImage } from '../../image/make-image.js';
import { runTool } from '../../support/run-tool.js';
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
  test.each(
    programs.flatMap((program) => (['zstd', 'gzip', 'none'] as const).map((how) => [program, how] as const)),
  )('gives %s (%s) images that are identical, as sparse, and as old', async (program, compression) => {
    await withArchiveScene(async (scene) => {
      const store = await tarStoreIn(scene.dir, compression);
      await store.receive(await scene.content(pair), {});
      const plain = join(scene.dir, 'exported');
      await archiveTo(plain, await scene.content(pair), compression);
      // With a store's tail, and without it; by its name, and from a pipe.
      for (const [turn, path] of [(await store.read(pair)).directory, plain].entries()) {
        const out = join(scene.dir, `out-${turn}`);
        await mkdir(out);
        const unpacked = await runTool(program, ['-xSf', path, '-C', out]);
        expect(unpacked.toString()).toBe('');
        await expectSameFiles(scene, out);
      }
    });
  });

  test('is what gzip and zstd themselves call sound, tail and all', async () => {
    await withArchiveScene(async (scene) => {
      for (const [compression, program] of [
        ['zstd', 'zstd'],
        ['gzip', 'gzip'],
      ] as const) {
        const store = await tarStoreIn(scene.dir, compression);
        await store.receive(await scene.content(pair), {});
        await runTool(program, ['-t', '-q', (await store.read(pair)).directory]);
      }
    });
  });
});

const makers: [string, string, string[]][] = [
  ['GNU tar, sparse 1.0', 'tar', ['-S', '--format=posix', '--sparse-version=1.0']],
  ['GNU tar, sparse 0.1', 'tar', ['-S', '--format=posix', '--sparse-version=0.1']],
  ['GNU tar, dense', 'tar', ['--format=posix']],
  ['GNU tar, dense, in its own format', 'tar', ['--format=gnu']],
  ['bsdtar, sparse', 'bsdtar', ['--format=pax', '--read-sparse']],
  ['bsdtar, dense', 'bsdtar', ['--format=pax', '--no-read-sparse']],
];

describe('an archive of the same files by others', () => {
  test.each(makers.filter(([, program]) => programs.includes(program)))(
    '%s is read, checked and given back as sparse as its map, compressed by anything',
    async (_, program, options) => {
      await withArchiveScene(async (scene) => {
        const { manifest } = await scene.content(pair);
        const files = join(scene.dir, 'files');
        const names = await layOut(scene, files);
        for (const [extension, compress] of [
          ['.tar', []],
          ['.tar.zst', ['--zstd']],
          ['.tar.gz', ['-z']],
        ] as const) {
          const store = await tarStoreIn(scene.dir, 'none');
          const path = join(store.path, 'pair', `20261121T031500Z${extension}`);
          await mkdir(dirname(path), { recursive: true });
          await runTool(program, ['-c', ...options, ...compress, '-f', path, '-C', files, ...names]);
          await checkArchive(path, manifest, {});
          // File by file too, from a store that somebody has put it into.
          if (extension === '.tar.gz') expect(await verdictOf(store, pair)).toMatchObject({ ok: true });
          await rm(path);
        }
      });
    },
  );

  test('with the names that `tar -c .` gives, and its directories, is read when the manifest comes first', async () => {
    await withArchiveScene(async (scene) => {
      const { manifest } = await scene.content(pair);
      const files = join(scene.dir, 'files');
      const names = await layOut(scene, files);
      const path = join(scene.dir, 'dotted.tar');
      const dotted = names.map((name) => `./${name}`);
      await runTool('tar', [
        '-cSf',
        path,
        '--format=posix',
        '--no-recursion',
        '-C',
        files,
        '.',
        ...dotted.slice(0, 1),
        './backing',
        ...dotted.slice(1),
      ]);
      await checkArchive(path, manifest, {});
      const late = join(scene.dir, 'late.tar');
      await runTool('tar', ['-cSf', late, '--format=posix', '-C', files, ...names.reverse()]);
      await expect(checkArchive(late, manifest, {})).rejects.toMatchObject({
        code: 'SnapshotDamaged',
        facts: { problem: expect.stringMatching(/^its first entry is .* and not manifest.json$/) },
      });
    });
  });

  test("in GNU tar's old sparse format is refused in clear words, not taken for what it isn't", async () => {
    await withArchiveScene(async (scene) => {
      const { manifest } = await scene.content(pair);
      const files = join(scene.dir, 'files');
      const names = await layOut(scene, files);
      const path = join(scene.dir, 'old.tar');
      await runTool('tar', ['-cS', '--format=gnu', '-f', path, '-C', files, ...names]);
      await expect(checkArchive(path, manifest, {})).rejects.toMatchObject({
        code: 'SnapshotDamaged',
        facts: { problem: expect.stringMatching(/--format=posix/) },
      });
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

async function blockAt(path: string, offset: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const block = Buffer.alloc(4096);
    await file.read(block, 0, block.length, offset);
    return block;
  } finally {
    await file.close();
  }
}
