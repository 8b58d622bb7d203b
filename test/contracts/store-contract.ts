import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UmlsnapError } from '../../src/errors.js';
import type { RestoredDisk } from '../../src/restore/restore-source.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { verifySnapshot } from '../../src/restore/verify-snapshot.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Manifest } from '../../src/store/manifest.js';
import type { SnapshotContent, Store } from '../../src/store/store.js';
import { allocatedBytes, makeImage, sha256sum } from '../image/make-image.js';
import {
  contentIn,
  emptyImage,
  sealSparse,
  soundIn,
  sparseImage,
  tamperedIn,
} from '../store/sparse-snapshots.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

export interface MadeStore {
  store: Store;
  /** Another instance on the same place, as the next command has it: nothing may live in memory alone. */
  again(): Store;
  /** Done once it is made. */
  prepared?(): Promise<void>;
  remove(): Promise<void>;
}

/**
 * What every kind of store promises. `make` gives one that was never used.
 * The tests build on each other, since some kinds of store take seconds for each step.
 */
export function storeContract(name: string, make: () => Promise<MadeStore>): void {
  describe(`${name} as a store`, () => {
    let dir: string;
    let source: DirectoryStore;
    let made: MadeStore;
    let store: Store;
    let id: string;
    const signal = new AbortController().signal;

    beforeAll(async () => {
      dir = await makeTempDir();
      source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
      await source.prepare(null);
      const backing = join(dir, 'base.img');
      await makeImage(backing, 9_000_000, [{ offset: 1_000_000, length: 2_000_000 }]);
      await sealSparse(source, 'pair@20261119T031500Z', {
        ubd0: { ...sparseImage, backing },
        ubd3: emptyImage,
      });
      await sealSparse(source, 'pair@20261120T031500Z', { ubd0: { ...sparseImage, backing } });
      await sealSparse(
        source,
        'debian@20261121T031500Z',
        { ubd0: sparseImage },
        { labels: { site: 'Città "1"' } },
      );
      await sealSparse(
        source,
        'debian@20261122T031500Z',
        { ubd0: sparseImage, ubd1: emptyImage },
        { pinned: true },
      );
      made = await make();
      store = made.store;
    });
    afterAll(async () => {
      await made?.remove();
      await removeTempDir(dir);
    });

    const receive = async (snapshot: string, from: Store = source) =>
      await store.receive(await contentIn(from, snapshot), {});
    const names = async (guest?: string) => (await made.again().list(guest)).map(({ snapshot }) => snapshot);

    async function restore(snapshot: string, to: string): Promise<RestoredDisk[]> {
      await mkdir(join(dir, to));
      return await restoreToDirectory(await contentIn(made.again(), snapshot), join(dir, to), { signal });
    }

    test('is not there until it was made, is known by its id from then on, and is not taken for another', async () => {
      expect(await store.isMounted(null)).toBe(false);
      await expect(store.isMounted(otherId)).rejects.toMatchObject({ code: 'StoreNotMounted' });
      const first = await store.prepare(null);
      expect(first.created).toBe(true);
      id = first.id;
      await made.prepared?.();
      const again = made.again();
      expect(await again.prepare(id)).toEqual({ id, created: false });
      expect(await again.prepare(null)).toEqual({ id, created: false });
      expect(await again.isMounted(id)).toBe(true);
      for (const ask of [() => again.prepare(otherId), () => again.isMounted(otherId)]) {
        await expect(ask()).rejects.toMatchObject({ code: 'StoreNotMounted', facts: { store: store.name } });
      }
      expect(await again.list()).toEqual([]);
    });

    test('keeps the manifest of a snapshot that it takes, but for what it takes of its room', async () => {
      for (const snapshot of ['debian@20261122T031500Z', 'debian@20261121T031500Z']) {
        const kept = await receive(snapshot);
        expect(withoutRoom(kept)).toEqual(withoutRoom((await soundIn(source, snapshot)).manifest));
        expect((await soundIn(made.again(), snapshot)).manifest).toEqual(kept);
      }
      expect((await soundIn(store, 'debian@20261122T031500Z')).manifest.pinned).toBe(true);
    });

    test('lists by guest, newest first, knows the latest, and nothing that is not there', async () => {
      await receive('pair@20261119T031500Z');
      const debian = ['debian@20261122T031500Z', 'debian@20261121T031500Z'];
      expect(await names()).toEqual([...debian, 'pair@20261119T031500Z']);
      expect(await names('debian')).toEqual(debian);
      expect(await names('nobody')).toEqual([]);
      expect((await store.read('debian@latest')).snapshot).toBe(debian[0]);
      const absent = ['nobody@latest', 'debian@20261123T031500Z'];
      const wrong = ['debian', '@latest', '../debian@latest', 'debian@..', 'x@latest', ''];
      for (const unknown of [...absent, ...wrong, '../store/debian@20261121T031500Z']) {
        await expect(store.read(unknown)).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
      }
    });

    test('gives a disk back byte for byte and hole for hole', async () => {
      await restore('debian@20261121T031500Z', 'raw');
      await expectSame(source, 'debian@20261121T031500Z', join(dir, 'raw'));
    });

    test('gives a COW disk back with its backing file and the mtime that UML compares, and an image that is one hole', async () => {
      const [cow, empty] = await restore('pair@20261119T031500Z', 'pair');
      await expectSame(source, 'pair@20261119T031500Z', join(dir, 'pair'));
      expect(cow?.backing?.path).toBe(join(dir, 'pair', 'base.img'));
      expect(await sha256sum(join(dir, 'pair', 'base.img'))).toBe(await sha256sum(join(dir, 'base.img')));
      expect(await allocatedBytes(join(dir, 'pair', 'base.img'))).toBeLessThanOrEqual(2_000_000 + slackBytes);
      expect(empty).toMatchObject({ device: 'ubd3', dataBytes: 0 });
    });

    test('tells that what it holds is sound', async () => {
      const content = await contentIn(made.again(), 'pair@20261119T031500Z');
      expect(await verifySnapshot(content, { signal })).toMatchObject({ ok: true });
    });

    test('refuses a name that it has, and leaves what is there as it is', async () => {
      const before = (await soundIn(store, 'debian@20261121T031500Z')).manifestSha256;
      const other = await contentIn(source, 'debian@20261121T031500Z');
      const labelled: SnapshotContent = {
        ...other,
        manifest: { ...other.manifest, labels: { other: 'yes' } },
      };
      await expect(store.receive(labelled, {})).rejects.toMatchObject({
        code: 'SnapshotExists',
        facts: { store: store.name, snapshot: 'debian@20261121T031500Z' },
      });
      expect((await soundIn(store, 'debian@20261121T031500Z')).manifestSha256).toBe(before);
    });

    test('takes nothing that is not what its manifest says, and lists nothing of it', async () => {
      const before = await names();
      const whole = await contentIn(source, 'pair@20261120T031500Z');
      const gone = new UmlsnapError('SnapshotDamaged', {
        snapshot: 'pair@20261120T031500Z',
        problem: 'gone',
      });
      const sources: SnapshotContent[] = [
        await tamperedIn(source, 'pair@20261120T031500Z', dir),
        { ...whole, openFile: () => Promise.reject(gone) },
        { ...whole, openFile: async () => breaking() },
      ];
      for (const bad of sources) {
        await expect(store.receive(bad, {})).rejects.toMatchObject({ code: 'SnapshotDamaged' });
        expect(await names()).toEqual(before);
      }
    });

    test('gives up at an abort, lists nothing of it, and takes it whole the next time', async () => {
      const before = await names();
      const content = await contentIn(source, 'pair@20261120T031500Z');
      const aborting = new AbortController();
      const openFile: SnapshotContent['openFile'] = async (file) => {
        aborting.abort(new Error('told to'));
        return await content.openFile(file);
      };
      const given = store.receive({ ...content, openFile }, { signal: aborting.signal });
      await expect(given).rejects.toThrow('told to');
      expect(await names()).toEqual(before);
      await receive('pair@20261120T031500Z');
      expect(await names('pair')).toEqual(['pair@20261120T031500Z', 'pair@20261119T031500Z']);
    });

    test('pins and unpins durably, and what is pinned stays sound', async () => {
      const pinned = await store.setPinned('debian@20261121T031500Z', true);
      expect(pinned.pinned).toBe(true);
      const again = await soundIn(made.again(), 'debian@20261121T031500Z');
      expect(again.manifest).toEqual(pinned);
      expect(
        await verifySnapshot(await contentIn(made.again(), 'debian@20261121T031500Z'), { signal }),
      ).toMatchObject({ ok: true });
      expect((await store.setPinned('debian@20261121T031500Z', false)).pinned).toBe(false);
      expect((await soundIn(made.again(), 'debian@20261121T031500Z')).manifest.pinned).toBe(false);
      expect(await names('debian')).toEqual(['debian@20261122T031500Z', 'debian@20261121T031500Z']);
      await expect(store.setPinned('debian@20261123T031500Z', true)).rejects.toMatchObject({
        code: 'NoSuchSnapshot',
      });
    });

    test('gives on what it holds: another store that takes it from here has the same', async () => {
      const other = new DirectoryStore({ name: 'other', path: join(dir, 'other') });
      await other.prepare(null);
      const kept = await other.receive(await contentIn(made.again(), 'pair@20261119T031500Z'), {});
      const first = (await soundIn(source, 'pair@20261119T031500Z')).manifest;
      expect(withoutRoom(kept)).toEqual(withoutRoom(first));
    });

    test('has a removed snapshot in no list, and the one that shares its backing file stays whole', async () => {
      await store.moveToTrash('pair@20261119T031500Z');
      expect(await names('pair')).toEqual(['pair@20261120T031500Z']);
      await expect(made.again().read('pair@20261119T031500Z')).rejects.toMatchObject({
        code: 'NoSuchSnapshot',
      });
      await expect(store.moveToTrash('pair@20261119T031500Z')).rejects.toMatchObject({
        code: 'NoSuchSnapshot',
      });
      await made.again().emptyTrash();
      expect(await names('pair')).toEqual(['pair@20261120T031500Z']);
      await restore('pair@20261120T031500Z', 'left');
      await expectSame(source, 'pair@20261120T031500Z', join(dir, 'left'));
      // A name is free again once it was removed.
      await receive('pair@20261119T031500Z');
      expect(await names('pair')).toEqual(['pair@20261120T031500Z', 'pair@20261119T031500Z']);
    });
  });
}

const otherId = '00000000-0000-4000-8000-000000000000';
/** What a file system may take on top of the data: a block for each piece, and its own. */
const slackBytes = 1024 * 1024;

function withoutRoom({ disks, checksum: _, ...facts }: Manifest): unknown {
  return { ...facts, disks: disks.map(({ storedBytes: __, ...disk }) => disk) };
}

/** Holds the restored disks against what the source's manifest says, by the host's own tools. */
async function expectSame(source: Store, snapshot: string, directory: string): Promise<void> {
  for (const { file, sha256, storedBytes } of (await soundIn(source, snapshot)).manifest.disks) {
    expect(await sha256sum(join(directory, file))).toBe(sha256);
    expect(await allocatedBytes(join(directory, file))).toBeLessThanOrEqual(storedBytes + slackBytes);
  }
}

/** A stream that ends in the middle of what it gives. */
function breaking() {
  async function* pieces() {
    yield { offset: 0, data: Buffer.alloc(100_000, 1) };
    throw Object.assign(new Error('EIO: the medium is gone, read'), { code: 'EIO', syscall: 'read' });
  }
  return { from: 'stream' as const, pieces: pieces(), close: async () => {} };
}
