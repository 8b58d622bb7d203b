import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { sealManifest } from '../../src/store/manifest.js';
import type { Store } from '../../src/store/store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { expectAllWhole, pinIn, trashIn } from './capture-of-tests.js';
import { freshStore, storeAt } from './fresh-store.js';
import { contentIn, sealSparse, soundIn } from './sparse-snapshots.js';
import { restoreFailure } from './tar/archive-scene.js';

const snapshot = 'debian@20261121T031500Z';
const fresh = freshStore();
let dir: string;
beforeEach(async () => {
  dir = join(fresh.dir, 'here');
  await mkdir(dir);
});

const refusal = (path: string, code: string, problem: RegExp) => ({
  code,
  facts: { store: 'local', path, problem: expect.stringMatching(problem) },
});

it('a directory gets one id when several processes make it a store at once', async () => {
  const path = join(dir, 'store');
  const prepared = await Promise.all([1, 2, 3, 4, 5, 6].map(() => storeAt(path).prepare(null)));
  expect(new Set(prepared.map(({ id }) => id)).size).toBe(1);
  expect(prepared.filter(({ created }) => created).length).toBe(1);
  expect(await readdir(path)).toEqual(['.umlsnap-store']);
});

it('a directory is not taken for a store that is known but not mounted there (fault 33)', async () => {
  const path = join(dir, 'mnt');
  const expectRefused = (problem: RegExp) =>
    expect(storeAt(path).prepare('9d6a4a4e-7a53-4a62-8f0a-0f6f1cf7a001')).rejects.toMatchObject(
      refusal(path, 'StoreNotMounted', problem),
    );
  await expectRefused(/no such directory/);
  await mkdir(path);
  await expectRefused(/marker/);
  expect(await readdir(path)).toEqual([]);
  expect((await storeAt(path).prepare(null)).created).toBe(true);
  await expectRefused(/another store/);
});

it('a directory below our own state is made with the directories above it, and is none before', async () => {
  const below = (path: string) =>
    new DirectoryStore({ name: 'offsite/staging', path: join(dir, path), makesParents: true });
  const staging = below('state/staging/offsite');
  expect(await staging.isMounted(null)).toBe(false);
  expect(await readdir(dir)).toEqual([]);
  expect((await staging.prepare(null)).created).toBe(true);
  expect((await stat(join(dir, 'state/staging'))).mode & 0o777).toBe(0o700);
  await symlink(join(dir, 'state'), join(dir, 'link'));
  const behind = below('link/elsewhere/offsite').prepare(null);
  await expect(behind).rejects.toMatchObject({ code: 'StoreUnusable' });
});

it('a directory that can be no store is left as it is and told why: something else in it, a link, a file, no parent, a damaged marker, one that is a FIFO or endless, or open to others', async () => {
  await mkdir(join(dir, 'real'));
  await symlink(join(dir, 'real'), join(dir, 'link'));
  await writeFile(join(dir, 'file'), '');
  await mkdir(join(dir, 'full'));
  await writeFile(join(dir, 'full/thesis.tex'), 'years of work');
  await mkdir(join(dir, 'damaged'));
  await writeFile(join(dir, 'damaged/.umlsnap-store'), '{"format":');
  for (const name of ['waiting', 'endless', 'open']) await mkdir(join(dir, name));
  await runTool('mkfifo', [join(dir, 'waiting/.umlsnap-store')]);
  await writeFile(join(dir, 'endless/.umlsnap-store'), Buffer.alloc(300_000, ' '));
  await chmod(join(dir, 'open'), 0o1777);
  const before = await readdir(dir, { recursive: true });
  const cases: [string, RegExp][] = [
    ['full', /not empty \(thesis\.tex/],
    ['link', /symbolic link: give .*\/real/],
    ['link/store', /symbolic link/],
    ['file', /not a directory/],
    ['file/store', /ENOTDIR|not a directory/],
    ['absent/store', /parent directory/],
    ['damaged', /marker file is damaged/],
    ['waiting', /marker file can't be read: it is not a regular file/],
    ['endless', /marker file can't be read: it is larger than/],
    ['open', /can be written to by others/],
  ];
  for (const [name, problem] of cases) {
    const refused = refusal(join(dir, name), 'StoreUnusable', problem);
    await expect(storeAt(join(dir, name)).prepare(null)).rejects.toMatchObject(refused);
  }
  expect(await readdir(dir, { recursive: true })).toEqual(before);
});

const noLoop = whyNoLoopMount('ext4');
if (noLoop !== undefined) console.warn(`SKIPPED: a store that is a mounted filesystem: ${noLoop}`);

it.skipIf(noLoop !== undefined).each<[string, (path: string) => Store]>([
  ['directories', storeAt],
  ['archives', (path) => new TarStore({ name: 'local', path, compression: 'zstd' })],
])(
  'a store of %s is made on a fresh filesystem in spite of its lost+found; read-only, it says so of every write, and is read and restored from (fault 32)',
  async (_, open) => {
    await sealSparse(fresh.store, snapshot);
    const content = await contentIn(fresh.store, snapshot);
    const { checksum: __, ...facts } = content.manifest;
    const other = { ...content, manifest: sealManifest({ ...facts, snapshot: 'debian@20261122T031500Z' }) };
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (mountPoint) => {
      const store = open(mountPoint);
      const { id } = await store.prepare(null);
      await store.receive(content, {});
      await store.proveWritable();
      expect(await readdir(mountPoint)).not.toContainEqual(expect.stringMatching(/^\.umlsnap-store\./));
      await runTool('mount', ['-o', 'remount,ro', mountPoint]);
      expect(await store.isMounted(id)).toBe(true);
      for (const write of [
        () => store.prepare(id),
        () => store.proveWritable(),
        () => store.receive(other, {}),
        () => pinIn(store, snapshot, true),
        () => trashIn(store, snapshot),
      ]) {
        const refused = refusal(mountPoint, 'StoreUnusable', /the filesystem is read-only/);
        await expect(write()).rejects.toMatchObject(refused);
      }
      expect(await expectAllWhole(store)).toEqual([snapshot]);
      expect(await restoreFailure(store, snapshot, join(dir, 'to'))).toBeNull();
      expect((await soundIn(store, snapshot)).manifest.pinned).toBe(false);
    });
  },
);
