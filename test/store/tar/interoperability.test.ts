import { existsSync } from 'node:fs';
import { mkdir, open, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { Compression } from '../../../src/config/store-config.js';
import { DataDigest } from '../../../src/image/data-digest.js';
import { contentOfFile } from '../../../src/image/read-content.js';
import { formatManifest, type Manifest, sealManifest } from '../../../src/store/manifest.js';
import type { SnapshotContent } from '../../../src/store/store.js';
import { checkArchive } from '../../../src/store/tar/check-archive.js';
import { writeArchive } from '../../../src/store/tar/write-archive.js';
import { allocatedBytes, makeImage, withOpen } from '../../image/make-image.js';
import { runTool } from '../../support/run-tool.js';
import { tempDirOfFile } from '../../support/temp-dir-of-file.js';
import { pair, sourceFiles, tarStoreIn, verdictOf } from './archive-scene.js';
import { freshArchiveScene } from './fresh-archive-scene.js';

const scene = freshArchiveScene();

const programs = ['tar', 'bsdtar'].filter((program) => existsSync(join('/usr/bin', program)));
if (programs.length < 2) console.warn('SKIPPED: bsdtar is not installed');

/** A block for each piece that begins or ends in the middle of one. */
const slackBytes = 64 * 512;

/** Writes an archive, as an export does. */
const archiveTo = (path: string, content: SnapshotContent, compression: Compression) =>
  withOpen(path, 'wx', ({ fd }) => writeArchive(content, { fd, compression }));

async function expectSameFiles(directory: string): Promise<void> {
  const content = await scene.content(pair);
  expect(await readFile(join(directory, 'manifest.json'), 'utf8')).toBe(formatManifest(content.manifest));
  for (const [name, path] of await sourceFiles(scene.source, content)) {
    const unpacked = join(directory, name);
    expect((await readFile(unpacked)).equals(await readFile(path)), name).toBe(true);
    const roomBytes = (await allocatedBytes(path)) + slackBytes;
    expect(await allocatedBytes(unpacked), name).toBeLessThanOrEqual(roomBytes);
  }
  const [backing] = content.manifest.disks.flatMap((disk) => disk.backing ?? []);
  const { mtimeMs } = await stat(join(directory, 'backing', backing?.file ?? ''));
  expect(Math.floor(mtimeMs / 1000)).toBe(Math.floor(Date.parse(backing?.mtime ?? '') / 1000));
}

test.each(['zstd', 'gzip', 'none'] as const)(
  'an archive of ours (%s) gives tar and bsdtar images that are identical, as sparse, and as old, and is sound for its compressor, tail and all',
  async (compression) => {
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
        await expectSameFiles(out);
      }
    }
  },
);

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

/** The snapshot's files, under the names that an archive gives them. */
const files = tempDirOfFile();
let names: string[];
let manifest: Manifest;
beforeAll(async () => {
  const content = await scene.content(pair);
  manifest = content.manifest;
  await mkdir(join(files, 'backing'));
  await writeFile(join(files, 'manifest.json'), formatManifest(manifest));
  const sources = await sourceFiles(scene.source, content);
  for (const [name, path] of sources)
    await runTool('cp', ['--sparse=always', '--preserve=timestamps', path, join(files, name)]);
  names = ['manifest.json', ...sources.keys()];
});

test.each(makers.filter(([, program]) => programs.includes(program)))(
  'an archive of the same files by others, %s (%s %j %s), is read, checked and given back as sparse as its map',
  async (_, program, options, extension) => {
    const store = await tarStoreIn(scene.dir, 'none');
    const path = join(store.path, 'pair', `20261121T031500Z${extension}`);
    await mkdir(dirname(path), { recursive: true });
    const compress = compressions[extension] ?? [];
    await runTool(program, ['-c', ...options, ...compress, '-f', path, '-C', files, ...names]);
    await checkArchive(path, manifest, {});
    // File by file too, from a store that somebody has put it into.
    if (extension === '.tar.gz') expect(await verdictOf(store, pair)).toMatchObject({ ok: true });
  },
);

test('an archive with the names that `tar -c .` gives is read when the manifest comes first; in the old sparse format it is refused in clear words', async () => {
  const checkMade = async (...args: string[]) => {
    const path = join(scene.dir, 'made');
    await runTool('tar', ['-cSf', path, '-C', files, ...args]);
    return checkArchive(path, manifest, {});
  };
  const [first = '', ...others] = names.map((name) => `./${name}`);
  await checkMade('--format=posix', '--no-recursion', '.', first, './backing', ...others);
  const refused: [string[], RegExp][] = [
    [['--format=posix', ...names.toReversed()], /^its first entry is .* and not manifest.json$/],
    [['--format=gnu', ...names], /--format=posix/],
  ];
  for (const [args, problem] of refused) {
    const facts = { problem: expect.stringMatching(problem) };
    await expect(checkMade(...args)).rejects.toMatchObject({ code: 'SnapshotDamaged', facts });
  }
});

test('an image of 8 TiB with two blocks of data goes into an archive and comes back, by us and by GNU tar', async () => {
  const sizeBytes = 8 * 2 ** 40;
  const offsets = [2 ** 33, sizeBytes - 4096];
  const image = join(scene.dir, 'huge.img');
  const pieces = offsets.map((offset) => ({ offset, length: 4096 }));
  await makeImage(image, sizeBytes, pieces);
  // Nobody waits for the hash of 8 TiB of zeros: the manifest has the one of the data.
  const digest = new DataDigest();
  for (const offset of offsets) digest.update(offset, await blockAt(image, offset));
  const { checksum: _, disks, ...facts } = manifest;
  const disk = disks.find(({ kind }) => kind === 'raw');
  if (disk === undefined) throw new Error('the scene has no raw disk');
  const huge = { ...disk, file: 'ubd0.img', sizeBytes, dataSha256: digest.digest(sizeBytes) };
  const content: SnapshotContent = {
    manifest: sealManifest({ ...facts, disks: [huge] }),
    openFile: async () => contentOfFile(await open(image, 'r')),
    openBacking: () => Promise.reject(new Error('it has none')),
  };
  const path = join(scene.dir, 'huge.tar.zst');
  await archiveTo(path, content, 'zstd');
  await checkArchive(path, content.manifest, {});
  expect((await stat(path)).size).toBeLessThan(64 * 1024);
  await runTool('tar', ['-xSf', path, '-C', scene.dir, 'ubd0.img']);
  const unpacked = join(scene.dir, 'ubd0.img');
  expect((await stat(unpacked)).size).toBe(sizeBytes);
  for (const offset of offsets) expect(await blockAt(unpacked, offset)).toEqual(await blockAt(image, offset));
});

const blockAt = (path: string, offset: number): Promise<Buffer> =>
  withOpen(path, 'r', async (file) => (await file.read(Buffer.alloc(4096), 0, 4096, offset)).buffer);
