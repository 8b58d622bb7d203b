import { mkdir, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test, vi } from 'vitest';
import { recover } from '../../../jobs/recover.js';
import { SqliteHistory } from '../../../src/history/sqlite-history.js';
import { recoverAtStart } from '../../../src/job/recover-at-start.js';
import { recordOf } from '../../../src/snapshot/describe-snapshot.js';
import { sealManifest } from '../../../src/store/manifest.js';
import { storedFrame } from '../../../src/store/tar/stored-frame.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { sha256sum } from '../../image/make-image.js';
import { runTool } from '../../support/run-tool.js';
import { pinIn, trashIn } from '../capture-of-tests.js';
import { soundIn } from '../sparse-snapshots.js';
import { small, tarStoreIn, verdictOf } from './archive-scene.js';
import { freshArchiveScene } from './fresh-archive-scene.js';
import { manifestEntry, tarOf } from './hand-made.js';

const scene = freshArchiveScene();
let store: TarStore;
/** Of the guest of `small`. */
let directory: string;
beforeEach(async () => {
  store = await tarStoreIn(scene.dir, 'zstd');
  directory = join(store.path, 'small');
});

const receiveSmall = async (into = store) => await into.receive(await scene.content(small), {});

/** As on a host without zstd. */
async function withoutPrograms<T>(use: () => Promise<T>): Promise<T> {
  vi.stubEnv('PATH', '/nonexistent');
  return await use().finally(() => vi.unstubAllEnvs());
}

test('a store of archives lists thousands of them by their heads alone, without a program for any of them', async () => {
  const { checksum: _, ...facts } = (await scene.content(small)).manifest;
  const count = 2000;
  const nameOf = (number: number) => `20260101T${String(number).padStart(6, '0')}Z`;
  await mkdir(join(store.path, 'many'));
  for (let number = 0; number < count; number++) {
    const manifest = sealManifest({ ...facts, guest: 'many', snapshot: `many@${nameOf(number)}` });
    const head = storedFrame(await tarOf([manifestEntry(manifest)]));
    await writeFile(join(store.path, 'many', `${nameOf(number)}.tar.zst`), head);
  }
  const listed = await withoutPrograms(() => store.list('many'));
  expect(listed.length).toBe(count);
  expect(listed.every((stored) => 'manifest' in stored)).toBe(true);
  expect(listed[0]?.snapshot).toBe(`many@${nameOf(count - 1)}`);
});

test('a store of archives writes gzip where zstd is missing, and without zstd says that, and not that a snapshot is damaged', async () => {
  await withoutPrograms(receiveSmall);
  expect(await readdir(directory)).toEqual(['20261121T031500Z.tar.gz']);
  expect(await withoutPrograms(() => verdictOf(store, small))).toMatchObject({ ok: true });
  const second = new TarStore({ name: 'second', path: join(scene.dir, 'second'), compression: 'zstd' });
  await second.prepare(null);
  await receiveSmall(second);
  const opened = withoutPrograms(async () => second.openFile(await soundIn(second, small), 'ubd0.img'));
  const facts = { problem: expect.stringMatching(/not installed/) };
  await expect(opened).rejects.toMatchObject({ code: 'StoreUnusable', facts });
});

test('a store of archives leaves alone what is none of its own, and lists as damaged what only has the name of an archive', async () => {
  await receiveSmall();
  await writeFile(join(directory, 'notes.txt'), 'mine');
  await mkdir(join(directory, '20261122T031500Z.tar.zst'));
  await symlink('/etc/passwd', join(directory, '20261123T031500Z.tar.zst'));
  await writeFile(join(directory, '20261124T031500Z.tar.zst'), 'no archive');
  await writeFile(join(directory, '20261125T031500Z.tar'), '');
  const { directory: path } = await store.read(small);
  await runTool('cp', [path, join(directory, '20261126T031500Z.tar.zst')]);
  expect((await store.list()).map((one) => [one.snapshot, 'manifest' in one])).toEqual([
    ['small@20261126T031500Z', false],
    ['small@20261125T031500Z', false],
    ['small@20261124T031500Z', false],
    [small, true],
  ]);
  const problem = 'its manifest belongs to small@20261121T031500Z';
  expect(await verdictOf(store, 'small@20261126T031500Z')).toMatchObject({ problem });
  await store.emptyTrash();
  expect((await readdir(directory)).length).toBe(7);
});

test('a store of archives never follows a link that whoever serves it has put in the place of a pin, or of a guest', async () => {
  await receiveSmall();
  const outside = join(scene.dir, 'outside');
  await mkdir(outside);
  const mark = join(directory, '20261121T031500Z.pinned');
  await symlink(join(outside, 'nologin'), mark);
  await expect(pinIn(store, small, true)).rejects.toMatchObject({ code: 'StoreUnusable' });
  await rm(mark);
  await runTool('mkfifo', [mark]);
  await expect(pinIn(store, small, true)).rejects.toMatchObject({ code: 'StoreUnusable' });
  await rm(mark);
  await rename(directory, join(outside, 'small'));
  await symlink(join(outside, 'small'), directory);
  await expect(pinIn(store, small, true)).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
  await expect(trashIn(store, small)).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
  expect(await readdir(outside)).toEqual(['small']);
  expect(await readdir(join(outside, 'small'))).toEqual(['20261121T031500Z.tar.zst']);
});

test('a store of archives pins without writing the archive anew, and tells the history the same as whoever reads', async () => {
  await receiveSmall();
  const { directory: path } = await store.read(small);
  const before = await sha256sum(path);
  for (const pinned of [true, false, false, true]) {
    const manifest = await pinIn(store, small, pinned);
    const stored = await soundIn(store, small);
    expect(stored.manifest).toEqual(manifest);
    const { manifestSha256 } = stored;
    expect(recordOf(store.name, manifest, 'own')).toMatchObject({ pinned, manifestSha256 });
    expect(await verdictOf(store, small)).toMatchObject({ ok: true });
  }
  expect(await sha256sum(path)).toBe(before);
  // A snapshot that gets the name later has its own word.
  await trashIn(store, small);
  await writeFile(join(directory, '20261121T031500Z.pinned'), '');
  await receiveSmall();
  expect((await soundIn(store, small)).manifest.pinned).toBe(false);
  expect(await readdir(directory)).toEqual(['20261121T031500Z.tar.zst']);
});

test('a row of a history that tells the data of an archive for its size, as those of older versions do, is put right by recover', async () => {
  const manifest = await receiveSmall();
  const history = await SqliteHistory.open(join(scene.dir, 'history.db'));
  try {
    await history.recordSnapshot(recordOf(store.name, manifest, 'own'));
    const deps = { history, stores: [store], stateDirectory: scene.dir, scratchPlaces: [], guests: [] };
    await recover(deps, await recoverAtStart(history, []));
    const { size } = await stat(join(directory, '20261121T031500Z.tar.zst'));
    expect(await history.snapshots({})).toMatchObject([{ storedBytes: size }]);
  } finally {
    history.close();
  }
});
