import { mkdir, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { makeImage } from '../image/make-image.js';
import { waitFor } from '../support/wait-for.js';
import {
  bytesOf,
  capture,
  captureDisk,
  draftOf,
  expectAllWhole,
  flipByte,
  pinIn,
  storeSnapshot,
  timesOpen,
  trashIn,
} from './capture-of-tests.js';
import { freshStore } from './fresh-store.js';

const fresh = freshStore();
let path: string;
let store: DirectoryStore;
beforeEach(() => {
  ({ store } = fresh);
  path = store.path;
});

const older = '20261121T031500Z';
const newer = '20261122T031500Z';

describe('sealing', () => {
  let incoming: Incoming;
  let disk: string;
  beforeEach(async () => {
    incoming = await store.begin('debian', 'job-1');
    disk = incoming.pathOf('ubd0.img');
  });

  it('gives a snapshot of plain files, readable for their owner only', async () => {
    const manifest = await store.seal(incoming, draftOf(incoming, await capture(incoming)));
    const sealed = join(path, 'debian', older);
    expect(await readdir(join(path, 'debian'))).toEqual([older]);
    expect((await readdir(sealed)).sort()).toEqual(['manifest.json', 'ubd0.img']);
    expect((await stat(sealed)).mode & 0o777).toBe(0o700);
    expect((await stat(join(sealed, 'manifest.json'))).mode & 0o777).toBe(0o600);
    expect(manifest.disks.every((disk) => disk.storedBytes >= disk.sizeBytes)).toBe(true);
  });

  it('refuses a name that is taken, even by an empty directory, and leaves what is there alone', async () => {
    await storeSnapshot(store, 'debian', older);
    await mkdir(join(path, 'debian', newer));
    const before = await readFile(join(path, 'debian', older, 'manifest.json'), 'utf8');
    for (const taken of [older, newer]) {
      const draft = draftOf(incoming, await capture(incoming), taken);
      const facts = { store: 'local', snapshot: `debian@${taken}` };
      await expect(store.seal(incoming, draft)).rejects.toMatchObject({ code: 'SnapshotExists', facts });
      await store.discard(incoming);
      incoming = await store.begin('debian', 'job-1');
    }
    expect(await readFile(join(path, 'debian', older, 'manifest.json'), 'utf8')).toBe(before);
    expect(await readdir(join(path, 'debian', newer))).toEqual([]);
  });

  it.each<[string, 'before' | 'during', RegExp, () => Promise<void>]>([
    [
      'of which one byte was flipped and the mtime set back',
      'before',
      /its inode was changed|it was written to/,
      async () => {
        const { atime, mtime } = await stat(disk);
        await flipByte(disk);
        await utimes(disk, atime, mtime);
      },
    ],
    [
      'that was replaced by another of the same size',
      'before',
      /it was replaced by another file/,
      async () => {
        await writeFile(`${disk}.new`, Buffer.alloc((await stat(disk)).size));
        await rename(`${disk}.new`, disk);
      },
    ],
    ['that is changed', 'during', /it was written to/, () => flipByte(disk)],
    [
      // By its directory: of that the file itself shows nothing.
      'in whose place another one is put',
      'during',
      /it was replaced$/,
      async () => {
        const other = join(fresh.dir, 'other');
        await mkdir(other);
        await writeFile(join(other, 'ubd0.img'), 'of another guest');
        await rename(incoming.directory, join(fresh.dir, 'elsewhere'));
        await rename(other, incoming.directory);
      },
    ],
  ])('throws away a capture %s, %s the hash (fault 28)', async (_, when, problem, change) => {
    // A hole, whose hash takes a second or two.
    const write = (path: string) => makeImage(path, 2 ** 30, [{ offset: 0, length: 1024 }]);
    const draft = draftOf(incoming, [await captureDisk(incoming, 'ubd0', write)]);
    await clockMovedOn(disk);
    if (when === 'before') await change();
    const seal = store.seal(incoming, draft).catch((error: unknown) => error);
    if (when === 'during') {
      // It has its first look right after it has opened the file.
      await waitFor('the seal to be at the file', async () => (await timesOpen(disk)) > 0, { everyMs: 1 });
      await change();
    }
    const facts = { guest: 'debian', device: 'ubd0', problem: expect.stringMatching(problem) };
    expect(await seal).toMatchObject({ code: 'CaptureDamaged', facts });
    expect(await store.list()).toEqual([]);
  });

  it('stops at an abort, and nothing is listed', async () => {
    const draft = draftOf(incoming, await capture(incoming));
    const given = store.seal(incoming, draft, AbortSignal.abort(new Error('told to')));
    await expect(given).rejects.toThrow('told to');
    expect(await store.list()).toEqual([]);
  });

  it('writes no manifest that it could not read again, and none for another guest or job', async () => {
    const disks = await capture(incoming);
    const wrong = [
      draftOf(incoming, disks, older, { pausedMs: Number.NaN }),
      draftOf(incoming, disks, older, { guest: 'other' }),
      draftOf(incoming, disks, older, { job: 'job-2' }),
      draftOf(incoming, disks, '../../elsewhere'),
      draftOf(incoming, disks, 'latest'),
    ];
    for (const draft of wrong)
      await expect(store.seal(incoming, draft)).rejects.toMatchObject({ code: 'Internal' });
    expect(await readdir(incoming.directory)).toEqual(['ubd0.img']);
  });
});

describe('listing', () => {
  it('leaves alone what is foreign: files, links, other names, snapshots in the making, the trash', async () => {
    await storeSnapshot(store, 'debian', older);
    await store.begin('debian', 'job-2');
    const foreign = join(fresh.dir, 'foreign');
    await mkdir(foreign);
    await writeFile(join(foreign, 'manifest.json'), '{}');
    await symlink(foreign, join(path, 'debian', '20261120T031500Z'));
    await symlink(foreign, join(path, 'linked'));
    await writeFile(join(path, 'debian', '20261119T031500Z'), 'a file');
    for (const made of ['debian/photos', 'lost+found', '.trash', '.trash/not-ours'])
      await mkdir(join(path, made));
    await writeFile(join(path, 'notes.txt'), 'a file');
    const before = (await readdir(path)).sort();
    expect(await expectAllWhole(store)).toEqual([`debian@${older}`]);
    const link = 'debian@20261120T031500Z';
    await expect(store.read(link)).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
    await expect(trashIn(store, link)).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
    await store.emptyTrash();
    for (const incoming of await store.incomings()) await store.discard(incoming);
    expect(await readdir(join(path, '.trash'))).toEqual(['not-ours']);
    expect(await readdir(foreign)).toEqual(['manifest.json']);
    expect((await readdir(path)).sort()).toEqual(before);
  });

  const damages: [string, (snapshot: string) => Promise<unknown>][] = [
    ['no manifest', (at) => rm(join(at, 'manifest.json'))],
    ['a manifest with a flipped byte', (at) => flipByte(join(at, 'manifest.json'))],
    ['a huge manifest', (at) => writeFile(join(at, 'manifest.json'), Buffer.alloc(2 ** 21, ' '))],
    ['a link as its manifest', (at) => replaceByLink(join(at, 'manifest.json'))],
    ['a missing disk', (at) => rm(join(at, 'ubd0.img'))],
    ['a disk that has grown', (at) => writeFile(join(at, 'ubd0.img'), 'x', { flag: 'a' })],
    ['a link as its disk', (at) => replaceByLink(join(at, 'ubd0.img'))],
    [
      'the manifest of another snapshot',
      async (at) =>
        writeFile(join(at, 'manifest.json'), await readFile(join(at, '..', older, 'manifest.json'))),
    ],
  ];
  it.each(damages)('tells that a snapshot is damaged which has %s', async (_, damage) => {
    await storeSnapshot(store, 'debian', older);
    await storeSnapshot(store, 'debian', newer);
    await damage(join(path, 'debian', newer));
    expect(await store.list('debian')).toMatchObject([
      { snapshot: `debian@${newer}`, damaged: expect.any(String) },
      { snapshot: `debian@${older}`, manifest: {} },
    ]);
    const pinned = pinIn(store, `debian@${newer}`, true);
    await expect(pinned).rejects.toMatchObject({ code: 'SnapshotDamaged' });
  });

  it('opens files of the snapshot itself, and nothing through a link or a path', async () => {
    await storeSnapshot(store, 'debian', older);
    const stored = await store.read(`debian@${older}`);
    expect((await bytesOf(await store.openFile(stored, 'ubd0.img'))).length).toBe(70_001);
    await replaceByLink(join(stored.directory, 'ubd0.img'));
    await expect(store.openFile(stored, 'ubd0.img')).rejects.toMatchObject({ code: 'SnapshotDamaged' });
    await expect(store.openFile(stored, '../../.umlsnap-store')).rejects.toMatchObject({ code: 'Internal' });
  });
});

it('throws a snapshot in the making away, and only that one', async () => {
  for (const job of ['dead', 'live']) await capture(await store.begin('debian', job));
  const [dead, live] = await store.incomings();
  if (!dead || !live) throw new Error('two were begun');
  expect([dead.job, live.job]).toEqual(['dead', 'live']);
  await store.discard(dead);
  expect(await readdir(join(path, 'debian'))).toEqual(['.incoming-live']);
  await store.discard(live);
  await store.discard(live);
  expect(await readdir(join(path, 'debian'))).toEqual([]);
});

/** The kernel's clock for file times ticks every few milliseconds: two changes within one tick look like one. */
async function clockMovedOn(file: string): Promise<void> {
  const { ctimeMs } = await stat(file);
  await waitFor('the next tick', () => Date.now() - ctimeMs > 20, { everyMs: 5 });
}

async function replaceByLink(file: string): Promise<void> {
  await rename(file, `${file}.elsewhere`);
  await symlink(`${file}.elsewhere`, file);
}
