import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UmlsnapError } from '../../src/errors.js';
import type { RestoredDisk } from '../../src/restore/restore-source.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { type Manifest, manifestSha256 } from '../../src/store/manifest.js';
import type { SnapshotContent, Store } from '../../src/store/store.js';
import { allocatedBytes, sha256sum } from '../image/make-image.js';
import { contentIn, cowAndHole, emptyImage, sealSparse } from '../store/sparse-snapshots.js';
import { soundIn, sparseImage, tamperedIn } from '../store/sparse-snapshots.js';
import { verdictOf } from '../store/tar/archive-scene.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { adoptIn, ours, pinIn, theirs, trashIn } from '../store/capture-of-tests.js';

interface MadeStore {
  /** One instance more on the same place, as the next command has it: nothing may live in memory alone. */
  again(): Store;
  /** Done once it is made. */
  prepared?(): Promise<void>;
  /** Spoils some of what this snapshot's bytes are read from. */
  damage(snapshot: string): Promise<void>;
  remove(): Promise<void>;
}

const older = 'debian@20261121T031500Z';
const newer = 'debian@20261122T031500Z';
const ancient = 'old@20260101T000000Z';
/** Of a COW disk and an image that is one hole; younger than those of a guest that is listed before it. */
const pair = 'pair@20261129T031500Z';
const newerPair = 'pair@20261130T031500Z';

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
    const signal = new AbortController().signal;

    beforeAll(async () => {
      dir = await makeTempDir();
      source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
      await source.prepare(null);
      const images = await cowAndHole(dir);
      await sealSparse(source, pair, images);
      await sealSparse(source, newerPair, { ubd0: images.ubd0 });
      await sealSparse(source, ancient, undefined, { format: 'umlsnap/1', owner: undefined });
      await sealSparse(source, older, { ubd0: sparseImage }, { labels: { site: 'Città "1"' } });
      await sealSparse(source, newer, { ubd0: sparseImage, ubd1: emptyImage }, { pinned: true });
      made = await make();
      store = made.again();
    });
    afterAll(async () => {
      await made?.remove();
      await removeTempDir(dir);
    });

    const receive = async (snapshot: string) => await store.receive(await contentIn(source, snapshot), {});
    const names = async (guest?: string) => (await made.again().list(guest)).map(({ snapshot }) => snapshot);
    const verdict = (snapshot: string) => verdictOf(made.again(), snapshot);

    /** Holds the disks against what the source's manifest says, by the host's own tools. */
    async function restore(snapshot: string): Promise<RestoredDisk[]> {
      const to = await makeTempDir(dir);
      const disks = await restoreToDirectory(await contentIn(made.again(), snapshot), to, { signal });
      for (const { file, sha256, storedBytes } of (await soundIn(source, snapshot)).manifest.disks) {
        expect(await sha256sum(join(to, file))).toBe(sha256);
        expect(await allocatedBytes(join(to, file))).toBeLessThanOrEqual(storedBytes + slackBytes);
      }
      return disks;
    }

    test('is not there until it was made, is known by its id from then on, and is not taken for another', async () => {
      expect(await store.isMounted(null)).toBe(false);
      const notMounted = { code: 'StoreNotMounted', facts: { store: store.name } };
      await expect(store.isMounted(otherId)).rejects.toMatchObject(notMounted);
      const { id, created } = await store.prepare(null);
      expect(created).toBe(true);
      await made.prepared?.();
      const again = made.again();
      expect(await again.prepare(id)).toEqual({ id, created: false });
      expect(await again.prepare(null)).toEqual({ id, created: false });
      expect(await again.isMounted(id)).toBe(true);
      await expect(again.prepare(otherId)).rejects.toMatchObject(notMounted);
      await expect(again.isMounted(otherId)).rejects.toMatchObject(notMounted);
      expect(await again.list()).toEqual([]);
    });

    test('keeps the manifest of a snapshot that it takes, but for what it takes of its room', async () => {
      for (const snapshot of [newer, older]) {
        const kept = await receive(snapshot);
        expect(withoutRoom(kept)).toEqual(withoutRoom((await soundIn(source, snapshot)).manifest));
        const listed = await soundIn(made.again(), snapshot);
        expect(listed).toMatchObject({ manifest: kept, manifestSha256: manifestSha256(kept) });
      }
      expect((await soundIn(store, newer)).manifest.pinned).toBe(true);
    });

    test('says what a snapshot takes in it, and where that is shared with others, nothing', async () => {
      const { manifest, directory } = await soundIn(store, older);
      const taken = {
        directory: async () => await allocatedBytes(join(directory, manifest.disks[0]?.file ?? '')),
        tar: async () => (await stat(directory)).size,
        restic: async () => null,
      };
      expect(await store.storedBytesOf(manifest)).toBe(await taken[store.type]());
    });

    test('lists by guest, newest first, and knows nothing that is not there', async () => {
      await receive(pair);
      expect(await names()).toEqual([newer, older, pair]);
      expect(await names('debian')).toEqual([newer, older]);
      expect(await names('nobody')).toEqual([]);
      const absent = ['debian@latest', 'nobody@latest', 'debian@20261123T031500Z'];
      const wrong = ['debian', '@latest', '../debian@latest', 'debian@..', 'x@latest', ''];
      for (const unknown of [...absent, ...wrong, `../store/${older}`]) {
        await expect(store.read(unknown)).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
      }
    });

    test('gives disks back byte for byte and hole for hole, a COW one with its backing file, and tells that they are sound', async () => {
      await restore(older);
      const [cow, empty] = await restore(pair);
      const base = cow?.backing?.path ?? '';
      expect(base).toBe(join(dirname(cow?.path ?? ''), 'base.img'));
      expect(await sha256sum(base)).toBe(await sha256sum(join(dir, 'base.img')));
      expect(await allocatedBytes(base)).toBeLessThanOrEqual(2_000_000 + slackBytes);
      expect(empty).toMatchObject({ device: 'ubd3', dataBytes: 0 });
      expect(await verdict(pair)).toMatchObject({ ok: true });
    });

    test('takes what was sealed before there were owners as it is, and gives it one', async () => {
      const kept = await receive(ancient);
      expect(kept).toMatchObject({ format: 'umlsnap/1', snapshot: ancient });
      expect((await soundIn(made.again(), ancient)).manifest).toEqual(kept);
      const adopted = await adoptIn(store, ancient, ours);
      expect(adopted).toMatchObject({ format: 'umlsnap/2', owner: ours });
      expect((await soundIn(made.again(), ancient)).manifest).toEqual(adopted);
      await trashIn(store, ancient);
    });

    test('refuses a name that it has, and leaves what is there as it is', async () => {
      const before = (await soundIn(store, older)).manifestSha256;
      const { manifest, ...files } = await contentIn(source, older);
      const labelled = { ...files, manifest: { ...manifest, labels: { other: 'yes' } } };
      const facts = { store: store.name, snapshot: older };
      await expect(store.receive(labelled, {})).rejects.toMatchObject({ code: 'SnapshotExists', facts });
      expect((await soundIn(store, older)).manifestSha256).toBe(before);
    });

    test('takes nothing that is not what its manifest says, and lists nothing of it', async () => {
      const before = await names();
      const whole = await contentIn(source, newerPair);
      const gone = new UmlsnapError('SnapshotDamaged', { snapshot: newerPair, problem: 'gone' });
      const sources: SnapshotContent[] = [
        await tamperedIn(source, newerPair, dir),
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
      const content = await contentIn(source, newerPair);
      const aborting = new AbortController();
      const openFile: SnapshotContent['openFile'] = async (file) => {
        aborting.abort(new Error('told to'));
        return await content.openFile(file);
      };
      const given = store.receive({ ...content, openFile }, { signal: aborting.signal });
      await expect(given).rejects.toThrow('told to');
      expect(await names()).toEqual(before);
      await receive(newerPair);
      expect(await names('pair')).toEqual([newerPair, pair]);
    });

    test('pins and unpins durably, and what is pinned stays sound', async () => {
      const pinned = await pinIn(store, older, true);
      expect(pinned.pinned).toBe(true);
      expect((await soundIn(made.again(), older)).manifest).toEqual(pinned);
      expect(await verdict(older)).toMatchObject({ ok: true });
      expect((await pinIn(store, older, false)).pinned).toBe(false);
      expect((await soundIn(made.again(), older)).manifest.pinned).toBe(false);
      expect(await names('debian')).toEqual([newer, older]);
      const absent = pinIn(store, 'debian@20261123T031500Z', true);
      await expect(absent).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
    });

    test('tells whose a snapshot is, changes that durably, and lets nobody remove or pin what is another’s by now', async () => {
      const before = await soundIn(store, older);
      expect(before.manifest.owner).toEqual(ours);
      const adopted = await store.amend(before, { owner: theirs });
      expect(adopted.owner).toEqual(theirs);
      const now = await soundIn(made.again(), older);
      expect(now).toMatchObject({ manifest: adopted, manifestSha256: manifestSha256(adopted) });
      // As who found it when it was his own, and comes to it only now.
      const changed = { code: 'SnapshotChanged', facts: { store: store.name, snapshot: older } };
      await expect(store.moveToTrash(before)).rejects.toMatchObject(changed);
      await expect(store.amend(before, { pinned: true })).rejects.toMatchObject(changed);
      expect(await soundIn(made.again(), older)).toEqual(now);
      expect(await verdict(older)).toMatchObject({ ok: true });
      expect((await store.amend(now, { owner: ours })).owner).toEqual(ours);
      expect(await names('debian')).toEqual([newer, older]);
    });

    test('brings a damaged snapshot back from a sound copy, listed once, with its pin, and its backing file', async () => {
      await made.damage(pair);
      expect(await verdict(pair)).toMatchObject({ ok: false });
      await pinIn(store, pair, true);
      const damaged = await store.read(pair);
      const tampered = await tamperedIn(source, pair, await makeTempDir(dir));
      await expect(store.heal(damaged, tampered, {})).rejects.toMatchObject({ code: 'SnapshotDamaged' });
      expect(await names('pair')).toEqual([newerPair, pair]);
      const told: unknown[] = [];
      const onWhole = async (manifest: Manifest) => void told.push(manifest, await names('pair'));
      const healed = await store.heal(damaged, await contentIn(source, pair), { onWhole });
      expect(told).toEqual([healed, [newerPair, pair]]);
      expect(await names('pair')).toEqual([newerPair, pair]);
      expect((await soundIn(made.again(), pair)).manifest).toEqual(healed);
      expect(healed.pinned).toBe(true);
      expect([await verdict(pair), await verdict(newerPair)]).toMatchObject([{ ok: true }, { ok: true }]);
      await made.again().emptyTrash();
      await restore(pair);
      const absent = { ...damaged, snapshot: 'pair@20261123T031500Z' };
      const none = store.heal(absent, await contentIn(source, pair), {});
      await expect(none).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
      await pinIn(store, pair, false);
    });

    test('has a removed snapshot in no list, and the one that shares its backing file stays whole', async () => {
      await trashIn(store, pair);
      expect(await names('pair')).toEqual([newerPair]);
      for (const ask of [() => made.again().read(pair), () => trashIn(store, pair)])
        await expect(ask()).rejects.toMatchObject({ code: 'NoSuchSnapshot' });
      await made.again().emptyTrash();
      expect(await names('pair')).toEqual([newerPair]);
      await restore(newerPair);
      // A name is free again once it was removed.
      await receive(pair);
      expect(await names('pair')).toEqual([newerPair, pair]);
    });
  });
}

const otherId = '00000000-0000-4000-8000-000000000000';
/** What a file system may take on top of the data: a block for each piece, and its own. */
const slackBytes = 1024 * 1024;

function withoutRoom({ disks, checksum: _, ...facts }: Manifest): unknown {
  return { ...facts, disks: disks.map(({ storedBytes: __, ...disk }) => disk) };
}

/** A stream that ends in the middle of what it gives. */
function breaking() {
  async function* pieces() {
    yield { offset: 0, data: Buffer.alloc(100_000, 1) };
    throw Object.assign(new Error('EIO: the medium is gone, read'), { code: 'EIO', syscall: 'read' });
  }
  return { from: 'stream' as const, pieces: pieces(), close: async () => {} };
}
