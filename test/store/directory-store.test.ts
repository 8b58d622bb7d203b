import { createHash } from 'node:crypto';
import {
  appendFile,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { manifestSha256 } from '../../src/store/manifest.js';
import { isSound, type StoredSnapshot } from '../../src/store/stored-snapshots.js';
import { withOpen } from '../image/make-image.js';
import { waitFor } from '../support/wait-for.js';
import { bytesOf, capture, draftOf, storeSnapshot } from './capture-of-tests.js';
import { freshStore } from './fresh-store.js';

const fresh = freshStore();
let directory: string;
let path: string;
let store: DirectoryStore;
beforeEach(() => {
  ({ dir: directory, store } = fresh);
  path = store.path;
});

const names = (snapshots: StoredSnapshot[]) => snapshots.map((stored) => stored.snapshot);

describe('sealing', () => {
  it('gives a snapshot of plain files, readable for their owner only, whose hashes are true', async () => {
    const incoming = await store.begin('debian', 'job-1');
    const contents = { ubd0: Buffer.alloc(5000, 'one'), ubd1: Buffer.alloc(123_457, 'two') };
    const manifest = await store.seal(incoming, draftOf(incoming, await capture(incoming, contents)));
    const snapshotDirectory = join(path, 'debian', '20261121T031500Z');
    expect(await readdir(join(path, 'debian'))).toEqual(['20261121T031500Z']);
    expect((await readdir(snapshotDirectory)).sort()).toEqual(['manifest.json', 'ubd0.img', 'ubd1.img']);
    expect((await stat(snapshotDirectory)).mode & 0o777).toBe(0o700);
    expect((await stat(join(snapshotDirectory, 'manifest.json'))).mode & 0o777).toBe(0o600);
    expect(manifest.disks.map((disk) => disk.sha256)).toEqual(
      Object.values(contents).map((content) => createHash('sha256').update(content).digest('hex')),
    );
    expect(manifest.disks.every((disk) => disk.storedBytes >= disk.sizeBytes)).toBe(true);
    const stored = await store.read('debian@20261121T031500Z');
    expect(stored).toMatchObject({ manifest, manifestSha256: manifestSha256(manifest) });
  });

  it('refuses a name that is taken, even by an empty directory, and leaves what is there alone', async () => {
    await storeSnapshot(store, 'debian', '20261121T031500Z');
    await mkdir(join(path, 'debian', '20261122T031500Z'));
    const before = await readFile(join(path, 'debian', '20261121T031500Z', 'manifest.json'), 'utf8');
    for (const taken of ['20261121T031500Z', '20261122T031500Z']) {
      const incoming = await store.begin('debian', `again-${taken}`);
      const draft = draftOf(incoming, await capture(incoming), taken);
      await expect(store.seal(incoming, draft)).rejects.toMatchObject({
        code: 'SnapshotExists',
        facts: { store: 'local', snapshot: `debian@${taken}` },
      });
      await store.discard(incoming);
    }
    expect(await readFile(join(path, 'debian', '20261121T031500Z', 'manifest.json'), 'utf8')).toBe(before);
    expect(await readdir(join(path, 'debian', '20261122T031500Z'))).toEqual([]);
    expect((await readdir(join(path, 'debian'))).sort()).toEqual(['20261121T031500Z', '20261122T031500Z']);
  });

  const changes: [string, (file: string) => Promise<void>][] = [
    ['one byte was flipped', (file) => flipByte(file)],
    [
      'one byte was flipped and the mtime set back',
      async (file) => {
        const { atime, mtime } = await stat(file);
        await flipByte(file);
        await utimes(file, atime, mtime);
      },
    ],
    ['it grew', (file) => appendFile(file, 'more')],
    [
      'it was replaced by another of the same size',
      async (file) => {
        await writeFile(`${file}.new`, Buffer.alloc((await stat(file)).size));
        await rename(`${file}.new`, file);
      },
    ],
  ];
  it.each(changes)('throws away a capture of which, before the seal, %s', async (_, change) => {
    const incoming = await store.begin('debian', 'job-1');
    const draft = draftOf(incoming, await capture(incoming));
    await clockMovedOn(incoming.pathOf('ubd0.img'));
    await change(incoming.pathOf('ubd0.img'));
    await expect(store.seal(incoming, draft)).rejects.toMatchObject({
      code: 'CaptureDamaged',
      facts: { guest: 'debian', device: 'ubd0' },
    });
    expect(await store.list()).toEqual([]);
  });

  it('throws away a capture that is changed while it is hashed', async () => {
    const incoming = await store.begin('debian', 'job-1');
    const draft = draftOf(incoming, await capture(incoming, { ubd0: Buffer.alloc(64 * 1024 * 1024, 1) }));
    await clockMovedOn(incoming.pathOf('ubd0.img'));
    const seal = store.seal(incoming, draft).then(
      () => 'sealed',
      (error: unknown) => error,
    );
    // It has its first look right after it has opened the file, and much to write out and to read after that.
    await waitFor('the seal to be at the file', () => hasOpen(incoming.pathOf('ubd0.img')), { everyMs: 1 });
    await flipByte(incoming.pathOf('ubd0.img'));
    expect(await seal).toMatchObject({ code: 'CaptureDamaged' });
    expect(await store.list()).toEqual([]);
  });

  it('throws away a capture in whose place another one is put while it is hashed', async () => {
    const incoming = await store.begin('debian', 'job-1');
    const draft = draftOf(incoming, await capture(incoming, { ubd0: Buffer.alloc(64 * 1024 * 1024, 1) }));
    const other = join(directory, 'other');
    await mkdir(other);
    await writeFile(join(other, 'ubd0.img'), 'of another guest');
    const seal = store.seal(incoming, draft).then(
      () => 'sealed',
      (error: unknown) => error,
    );
    await waitFor('the seal to be at the file', () => hasOpen(incoming.pathOf('ubd0.img')), { everyMs: 1 });
    // By its directory: of that the file itself shows nothing.
    await rename(incoming.directory, join(directory, 'elsewhere'));
    await rename(other, incoming.directory);
    expect(await seal).toMatchObject({
      code: 'CaptureDamaged',
      facts: { problem: expect.stringContaining('it was replaced') },
    });
    expect(await store.list()).toEqual([]);
  });

  it('stops at an abort, and nothing is listed', async () => {
    const incoming = await store.begin('debian', 'job-1');
    const draft = draftOf(incoming, await capture(incoming));
    await expect(store.seal(incoming, draft, AbortSignal.abort(new Error('told to')))).rejects.toThrow(
      'told to',
    );
    expect(await store.list()).toEqual([]);
  });

  it('writes no manifest that it could not read again, and none for another guest or job', async () => {
    const incoming = await store.begin('debian', 'job-1');
    const disks = await capture(incoming);
    const wrong = [
      draftOf(incoming, disks, '20261121T031500Z', { pausedMs: Number.NaN }),
      draftOf(incoming, disks, '20261121T031500Z', { guest: 'other' }),
      draftOf(incoming, disks, '20261121T031500Z', { job: 'job-2' }),
      draftOf(incoming, disks, '../../elsewhere'),
      draftOf(incoming, disks, 'latest'),
    ];
    for (const draft of wrong) {
      await expect(store.seal(incoming, draft)).rejects.toMatchObject({ code: 'Internal' });
    }
    expect(await readdir(incoming.directory)).toEqual(['ubd0.img']);
  });
});

describe('listing', () => {
  it('gives what the history has to know of each snapshot, newest first', async () => {
    await storeSnapshot(store, 'debian', '20261121T031500Z');
    await storeSnapshot(store, 'debian', '20261122T031500Z');
    await storeSnapshot(store, 'alpine', '20261121T120000Z');
    const list = await store.list();
    expect(names(list)).toEqual([
      'alpine@20261121T120000Z',
      'debian@20261122T031500Z',
      'debian@20261121T031500Z',
    ]);
    for (const stored of list) {
      expect(stored).toMatchObject({
        manifest: { snapshot: stored.snapshot, guest: stored.guest, job: expect.any(String) },
        manifestSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
    }
    expect(names(await store.list('alpine'))).toEqual(['alpine@20261121T120000Z']);
    expect(await store.list('nobody')).toEqual([]);
    expect((await store.read('debian@latest')).snapshot).toBe('debian@20261122T031500Z');
  });

  it('leaves alone what is foreign: files, links, other names, snapshots in the making, the trash', async () => {
    await storeSnapshot(store, 'debian', '20261121T031500Z');
    await store.begin('debian', 'job-2');
    const foreign = join(directory, 'foreign');
    await mkdir(foreign);
    await writeFile(join(foreign, 'manifest.json'), '{}');
    await symlink(foreign, join(path, 'debian', '20261120T031500Z'));
    await symlink(foreign, join(path, 'linked'));
    await writeFile(join(path, 'debian', '20261119T031500Z'), 'a file');
    await mkdir(join(path, 'debian', 'photos'));
    await mkdir(join(path, 'lost+found'));
    await writeFile(join(path, 'notes.txt'), 'a file');
    await mkdir(join(path, '.trash'));
    await mkdir(join(path, '.trash', 'not-ours'));
    expect(names(await store.list())).toEqual(['debian@20261121T031500Z']);
    await expect(store.read('debian@20261120T031500Z')).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
    await expect(store.moveToTrash('debian@20261120T031500Z')).rejects.toMatchObject({
      code: 'NoSuchSnapshot',
    });
    await store.emptyTrash();
    for (const incoming of await store.incomings()) await store.discard(incoming);
    expect(await readdir(join(path, '.trash'))).toEqual(['not-ours']);
    expect(await readdir(foreign)).toEqual(['manifest.json']);
    expect((await readdir(path)).sort()).toEqual([
      '.trash',
      '.umlsnap-store',
      'debian',
      'linked',
      'lost+found',
      'notes.txt',
    ]);
  });

  const damages: [string, (snapshot: string) => Promise<unknown>][] = [
    ['no manifest', (at) => rm(join(at, 'manifest.json'))],
    ['a manifest with a flipped byte', (at) => flipByte(join(at, 'manifest.json'))],
    ['a huge manifest', (at) => writeFile(join(at, 'manifest.json'), Buffer.alloc(2 ** 21, ' '))],
    ['a link as its manifest', (at) => replaceByLink(join(at, 'manifest.json'))],
    ['a missing disk', (at) => rm(join(at, 'ubd0.img'))],
    ['a disk cut short', (at) => appendFile(join(at, 'ubd0.img'), 'x')],
    ['a link as its disk', (at) => replaceByLink(join(at, 'ubd0.img'))],
    [
      'the manifest of another snapshot',
      async (at) =>
        writeFile(join(at, 'manifest.json'), await readFile(join(at, '../20261121T031500Z/manifest.json'))),
    ],
  ];
  it.each(damages)(
    'tells that a snapshot is damaged which has %s, and latest is the one before',
    async (_, damage) => {
      await storeSnapshot(store, 'debian', '20261121T031500Z');
      await storeSnapshot(store, 'debian', '20261122T031500Z');
      await damage(join(path, 'debian', '20261122T031500Z'));
      const [damaged, sound] = await store.list('debian');
      expect(damaged).toMatchObject({ snapshot: 'debian@20261122T031500Z', damaged: expect.any(String) });
      expect(sound && isSound(sound)).toBe(true);
      expect((await store.read('debian@latest')).snapshot).toBe('debian@20261121T031500Z');
      await expect(store.setPinned('debian@20261122T031500Z', true)).rejects.toMatchObject({
        code: 'SnapshotDamaged',
      });
    },
  );

  it('opens files of the snapshot itself, and nothing through a link or a path', async () => {
    await storeSnapshot(store, 'debian', '20261121T031500Z');
    const stored = await store.read('debian@latest');
    expect((await bytesOf(await store.openFile(stored, 'ubd0.img'))).length).toBe(70_001);
    await replaceByLink(join(stored.directory, 'ubd0.img'));
    await expect(store.openFile(stored, 'ubd0.img')).rejects.toMatchObject({ code: 'SnapshotDamaged' });
    await expect(store.openFile(stored, '../../.umlsnap-store')).rejects.toMatchObject({ code: 'Internal' });
  });
});

describe('removing', () => {
  it('takes a snapshot out of the list first and deletes it last', async () => {
    await storeSnapshot(store, 'debian', '20261121T031500Z');
    await storeSnapshot(store, 'debian', '20261122T031500Z');
    const trashed = await store.moveToTrash('debian@20261121T031500Z');
    expect(names(await store.list())).toEqual(['debian@20261122T031500Z']);
    expect((await readdir(trashed.directory)).sort()).toEqual(['manifest.json', 'ubd0.img']);
    await store.emptyTrash();
    expect(await readdir(join(path, '.trash'))).toEqual([]);
    await store.remove('debian@20261122T031500Z');
    expect(await store.list()).toEqual([]);
    await expect(store.remove('debian@20261122T031500Z')).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
  });

  it('throws a snapshot in the making away, and only that one', async () => {
    const dead = await store.begin('debian', 'dead');
    const live = await store.begin('debian', 'live');
    await capture(dead);
    await capture(live);
    expect((await store.incomings()).map(({ job }) => job)).toEqual(['dead', 'live']);
    await store.discard(dead);
    expect(await readdir(join(path, 'debian'))).toEqual(['.incoming-live']);
    await store.discard(live);
    await store.discard(live);
    expect(await readdir(join(path, 'debian'))).toEqual([]);
  });
});

describe('pinning', () => {
  it('is in the manifest itself, which stays sound', async () => {
    await storeSnapshot(store, 'debian', '20261121T031500Z');
    const pinned = await store.setPinned('debian@latest', true);
    expect(pinned.pinned).toBe(true);
    expect(await store.read('debian@latest')).toMatchObject({ manifest: pinned });
    expect((await store.setPinned('debian@latest', false)).pinned).toBe(false);
    const stored = await store.read('debian@latest');
    expect((await readdir(stored.directory)).sort()).toEqual(['manifest.json', 'ubd0.img']);
  });
});

/** The kernel's clock for file times ticks every few milliseconds: two changes within one tick look like one. */
async function clockMovedOn(file: string): Promise<void> {
  const { ctimeMs } = await stat(file);
  await waitFor('the next tick', () => Date.now() - ctimeMs > 20, { everyMs: 5 });
}

async function hasOpen(file: string): Promise<boolean> {
  for (const fd of await readdir('/proc/self/fd')) {
    if ((await readlink(`/proc/self/fd/${fd}`).catch(() => '')) === file) return true;
  }
  return false;
}

const flipByte = (file: string) =>
  withOpen(file, 'r+', async (handle) => {
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, 100);
    await handle.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 100);
  });

async function replaceByLink(file: string): Promise<void> {
  await rename(file, `${file}.elsewhere`);
  await symlink(`${file}.elsewhere`, file);
}
