import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import type { GuestConfig } from '../../src/config/config.js';
import { retain } from '../../src/snapshot/retain.js';
import { ownershipIn, ownershipOf, plainHost } from '../../src/snapshot/ownership.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { amended, isRecorded, manifestSha256 } from '../../src/store/manifest.js';
import type { Store } from '../../src/store/store.js';
import type { DamagedSnapshot, StoredSnapshot } from '../../src/store/stored-snapshots.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { snapshot } from '../history/records-of-tests.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { adoptIn, flipByte, isWhole, ours, pinIn, theirs, trashIn } from './capture-of-tests.js';
import { storeAt } from './fresh-store.js';
import { configIn, restic, storeOf } from './restic/restic-places.js';
import { contentIn, sealSparse, soundIn } from './sparse-snapshots.js';
import { unpackFirstFormat } from './first-format.js';

/** Whose snapshots are, of those that an older umlsnap has written too; in restic, whose locks reach no other host. */

/** A job of it is in the history; of the other one there is none. */
const known = 'debian@20261121T031500Z';
const foreign = 'debian@20261122T031500Z';

let dir: string;
let history: SqliteHistory;
beforeAll(async () => {
  dir = await makeTempDir();
  await unpackFirstFormat(dir);
  history = await SqliteHistory.open(join(dir, 'history.db'));
});
afterAll(async () => {
  history.close();
  await removeTempDir(dir);
});

const damagedOf = (name: string): DamagedSnapshot => ({
  ...{ snapshot: name, guest: 'debian', directory: '', damaged: 'gone' },
});

/** One of ours in a directory of its own. */
async function sealed(at: string, name: string) {
  const store = storeAt(join(dir, at));
  await store.prepare(null);
  return await sealSparse(store, name, undefined, { owner: ours });
}

describe('what an older umlsnap has written', () => {
  const stores: Record<string, () => Promise<Store>> = {
    directory: async () => new DirectoryStore({ name: 'directory', path: join(dir, 'directory') }),
    archives: async () =>
      new TarStore({ name: 'archives', path: join(dir, 'archives'), compression: 'zstd' }),
    offsite: async () => storeOf(await configIn(dir, join(dir, 'repository'))),
  };

  for (const [name, open] of Object.entries(stores)) {
    test(`is read from ${name} as it was, is ours by the job that made it alone, and can be adopted`, async () => {
      const store = await open();
      await history.rememberStateId(ours.id);
      expect(await store.isMounted(await history.storeId(name))).toBe(true);
      const listed = await store.list();
      const ownership = await ownershipIn(name, listed, history);
      expect(listed.map((stored) => [stored.snapshot, ownership(stored).type])).toEqual([
        [foreign, 'unknown'],
        [known, 'own'],
      ]);
      const rows = await history.snapshots({ store: name });
      expect(rows.map(({ snapshot, own }) => [snapshot, own])).toEqual([
        [foreign, false],
        [known, true],
      ]);
      const row = rows.find(({ snapshot }) => snapshot === foreign);
      if (!row) throw new Error('it has a row');
      for (const snapshot of [foreign, known]) {
        const stored = await soundIn(store, snapshot);
        expect(stored.manifest).toMatchObject({ format: 'umlsnap/1', pinned: snapshot === foreign });
        expect(await isWhole(store, stored)).toBe(true);
      }
      const adopted = await adoptIn(store, foreign, ours);
      const after = await soundIn(await open(), foreign);
      expect(after.manifest).toEqual(adopted);
      expect(await isWhole(store, after)).toBe(true);
      // Killed before the history was told: it is no forgery.
      expect(isRecorded(adopted, after.manifestSha256, row)).toBe(true);
    });

    test(`is marked as ours in ${name} by the next retention, so that no other host takes it for nobody’s`, async () => {
      const config = { name: 'debian', keep: {}, timezone: 'UTC' } as GuestConfig;
      const store = await open();
      const before = await soundIn(store, known);
      const now = new Date();
      await retain(config, store, history, { now, dryRun: true });
      expect((await soundIn(store, known)).manifest).toEqual(before.manifest);
      expect(await retain(config, store, history, { now })).toMatchObject({ removed: [], warnings: [] });
      const { manifest, manifestSha256: sha256 } = await soundIn(await open(), known);
      expect(manifest).toMatchObject({ owner: { id: ours.id }, disks: before.manifest.disks });
      const [row] = (await history.snapshots({ store: name })).filter(({ snapshot }) => snapshot === known);
      expect(row).toMatchObject({ manifestSha256: sha256, own: true, owner: { id: ours.id } });
      expect(row?.storedBytes).toBeGreaterThan(0);
    });
  }
});

test('a manifest counts as recorded whatever became of its pin and its owner, and with nothing else changed', async () => {
  const store = new DirectoryStore({ name: 'recorded', path: join(dir, 'recorded') });
  await store.prepare(null);
  const { manifest } = await sealSparse(store, known);
  const row = { manifestSha256: manifestSha256(manifest), owner: ours };
  const is = (found: typeof manifest) => isRecorded(found, manifestSha256(found), row);
  for (const pinned of [true, false]) {
    for (const owner of [ours, theirs]) expect(is(amended(manifest, { pinned, owner }))).toBe(true);
  }
  expect(is(amended({ ...manifest, dirtyKib: 1 }, { owner: theirs }))).toBe(false);
  expect(isRecorded(manifest, row.manifestSha256, { manifestSha256: '0'.repeat(64), owner: null })).toBe(
    false,
  );
});

test('a damaged snapshot is ours if it was, and its mark decides over that', () => {
  const damaged = damagedOf(known);
  const us = { id: ours.id, jobs: new Set<string>(), recorded: new Set([known]) };
  expect(ownershipOf(damaged, us)).toEqual({ type: 'own' });
  expect(ownershipOf({ ...damaged, owner: theirs }, us)).toEqual({ type: 'other', ...theirs });
  expect(ownershipOf(damaged, { ...us, recorded: new Set() })).toEqual({ type: 'unknown' });
});

test('of two that have one name in a store, a damaged one is not ours for the name of the sound one', async () => {
  await history.rememberStateId(ours.id);
  await history.recordSnapshot(snapshot(known, { store: 'shared' }));
  const [sound, damaged] = [await sealed('twins', known), damagedOf(known)];
  const whose = async (...listed: StoredSnapshot[]) => {
    const ownership = await ownershipIn('shared', listed, history);
    return listed.map((stored) => ownership(stored).type);
  };
  expect(await whose(sound, damaged)).toEqual(['own', 'unknown']);
  expect(await whose(damaged)).toEqual(['own']);
});

test('an archive of ours is known as ours by its manifest if that can be read, and by the history if not', async () => {
  await history.rememberStateId(ours.id);
  const store = new TarStore({ name: 'tars', path: join(dir, 'tars'), compression: 'gzip' });
  await store.prepare(null);
  await sealed('for-tar', foreign);
  await store.receive(await contentIn(storeAt(join(dir, 'for-tar')), foreign), {});
  const { directory } = await store.read(foreign);
  const whose = async () => {
    const listed = await store.list();
    const ownership = await ownershipIn(store.name, listed, history);
    return listed.map((stored) => ['damaged' in stored, ownership(stored).type]);
  };
  // The tail, past which the manifest is read; then the manifest.
  await flipByte(directory, 0.9999);
  expect(await whose()).toEqual([[true, 'own']]);
  await flipByte(directory, 0.001);
  expect(await whose()).toEqual([[true, 'unknown']]);
  await history.recordSnapshot(snapshot(foreign, { store: store.name }));
  expect(await whose()).toEqual([[true, 'own']]);
});

test('a state that has no id owns nothing that has an owner', () => {
  const us = { id: null, jobs: new Set<string>(), recorded: new Set<string>() };
  const damaged = { ...damagedOf(known), owner: ours };
  expect(ownershipOf(damaged, us)).toEqual({ type: 'other', ...ours });
});

test('the name of a host is bounded and plain, whatever the host calls itself', () => {
  expect(plainHost('web-1.example.org')).toBe('web-1.example.org');
  expect(plainHost('-é\u001b[31m x'.repeat(20))).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
  expect(plainHost('')).toBe('nameless');
});

describe('two hosts in one repository of restic that took one name at the same time', () => {
  const first = 'twin@20261121T031500Z';
  const second = 'twin@20261122T031500Z';
  let repository: ReturnType<typeof storeOf>;
  let source: DirectoryStore;
  const config = () => configIn(dir, join(dir, 'repository'));
  const twins = async () => (await repository.list('twin')).filter((one) => one.snapshot === first);

  beforeAll(async () => {
    repository = storeOf(await config());
    source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
    await source.prepare(null);
  });

  /** As two have it whose names crossed: the second comes while the first has another name. */
  async function seal(owner: typeof ours, word: string): Promise<void> {
    const images = { ubd0: { bytes: Buffer.alloc(9000, word) } };
    await sealSparse(source, first, images, { owner });
    await repository.receive(await contentIn(source, first), {});
    await trashIn(source, first);
  }

  test('have two snapshots, each with its own bytes, of which none is pinned, adopted or removed with the other', async () => {
    const rename = async (from: string, to: string) =>
      restic(await config(), 'tag', '--remove', from, '--add', to, '--tag', `umlsnap,${from}`);
    await seal(ours, 'ours ');
    await rename(first, second);
    await seal(theirs, 'theirs ');
    await rename(second, first);
    expect(await twins()).toHaveLength(2);
    const isOf = (id: string) => (stored: Awaited<ReturnType<typeof twins>>[number]) =>
      'manifest' in stored && stored.manifest.owner?.id === id;
    for (const { id } of [ours, theirs]) {
      const stored = await repository.read(first, isOf(id));
      expect(stored).toMatchObject({ manifest: { owner: { id } } });
      if ('manifest' in stored) expect(await isWhole(repository, stored)).toBe(true);
    }
    const mine = await repository.read(first, isOf(ours.id));
    await repository.amend(mine, { pinned: true });
    expect((await twins()).map((one) => 'manifest' in one && one.manifest.pinned).sort()).toEqual([
      false,
      true,
    ]);
    await repository.moveToTrash(await repository.read(first, isOf(ours.id)));
    expect(await twins()).toMatchObject([{ manifest: { owner: theirs, pinned: false } }]);
    // What was found before is gone, and the other one is not taken for it.
    await expect(repository.moveToTrash(mine)).rejects.toMatchObject({ code: 'SnapshotChanged' });
    expect(await twins()).toHaveLength(1);
    await pinIn(repository, first, true);
  });

  test('give up their own while they see the other’s, so that none of two is ever the only one lost', async () => {
    // The other one comes between the look for the name and the end of the backup.
    const racing = storeOf(await config());
    const images = { ubd0: { bytes: Buffer.alloc(9000, 'racing ') } };
    const later = 'twin@20261129T031500Z';
    await sealSparse(source, later, images, { owner: ours });
    const content = await contentIn(source, later);
    const openFile: typeof content.openFile = async (file) => {
      await restic(await config(), 'tag', '--remove', first, '--add', later, '--tag', `umlsnap,${first}`);
      return await content.openFile(file);
    };
    const exists = { code: 'SnapshotExists', facts: { snapshot: later } };
    await expect(racing.receive({ ...content, openFile }, {})).rejects.toMatchObject(exists);
    const entries = JSON.parse(await restic(await config(), 'snapshots', '--json', '--host', 'twin'));
    expect(entries).toHaveLength(1);
    expect(entries[0].tags).toContain(`owner=${theirs.id}`);
  });
});
