import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prune } from '../../jobs/prune.js';
import { type RemoveRequest, remove } from '../../jobs/remove.js';
import { verify } from '../../jobs/verify.js';
import { type App, withApp } from '../../src/compose.js';
import { guestNamed } from '../../src/config/guest-named.js';
import { loadConfig } from '../../src/config/load-config.js';
import { fillStores } from '../../src/copies/fill-stores.js';
import { findCopy } from '../../src/copies/find-copy.js';
import { backupWhenFree } from '../../src/daemon/backup-when-free.js';
import { UmlsnapError } from '../../src/errors.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { PhaseJournal } from '../../src/snapshot/phase-journal.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { amended, formatManifest, parseManifest, sealManifest } from '../../src/store/manifest.js';
import type { VerifyScope } from '../../src/verify/verify-targets.js';
import { verification } from '../history/records-of-tests.js';
import { flipByte, pinIn } from '../store/capture-of-tests.js';
import { storeAt } from '../store/fresh-store.js';
import { contentIn, sealSparse } from '../store/sparse-snapshots.js';
import { verdictOf } from '../store/tar/archive-scene.js';
import { Scene } from '../support/scene.js';

/** What people do to copies: bring one back from another, and remove one on purpose. */

const [older, newer] = ['web@20261120T000000Z', 'web@20261121T000000Z'] as const;
const { signal } = new AbortController();
let scene: Scene;
let local: DirectoryStore;
beforeEach(async () => {
  scene = new Scene({ guest: null });
  await scene.build();
  const stores = {
    local: { type: 'directory', path: scene.path('local') },
    archive: { type: 'tar', path: scene.path('archive'), compression: 'none' },
  };
  const web = { mconsole: '/nowhere', disks: { ubd0: scene.path('web.img') }, store: ['local', 'archive'] };
  await scene.configure({ web }, { stores });
  await scene.own();
  local = storeAt(scene.path('local'));
  await inApp(async ({ history, stores: all }) => {
    for (const store of all.filter(({ name }) => !name.includes('/')))
      await history.rememberStore(store.name, (await store.prepare(null)).id);
    for (const snapshot of [older, newer]) {
      await history.recordSnapshot(recordOf('local', (await sealSparse(local, snapshot)).manifest, 'own'));
      const archive = all.find(({ name }) => name === 'archive');
      const kept = await archive?.receive(await contentIn(local, snapshot), {});
      if (kept) await history.recordSnapshot(recordOf('archive', kept, 'own'));
    }
  });
});
afterEach(() => scene.remove());

const inApp = async <T>(use: (app: App) => Promise<T>) => await withApp(await loadConfig(scene.config), use);
const spoil = (snapshot: string) => flipByte(join(scene.path('local'), ...snapshot.split('@'), 'ubd0.img'));
const spoilArchive = (snapshot: string) =>
  flipByte(`${join(scene.path('archive'), ...snapshot.split('@'))}.tar`, 0.5);
const listed = () =>
  inApp(async ({ stores }) =>
    Promise.all(['local', 'archive'].map((name) => stores.find((store) => store.name === name)?.list())),
  );
const namesIn = async () =>
  (await listed()).map((copies = []) => copies.map(({ snapshot }) => snapshot.slice(4, 12)));
const healed = (scope: VerifyScope = { of: 'guest', guest: 'web' }) =>
  inApp((app) => verify(scope, app, { signal, heals: app }));
const found = () => inApp(async ({ history }) => (await history.badFindings({})).verifications);
const codeOf = (error: unknown) => (error instanceof UmlsnapError ? error.code : error);
const removed = (request: Partial<RemoveRequest> = {}) =>
  inApp(async (app) =>
    remove(app, { name: older, store: undefined, force: false, ...request }).then(
      ({ error, status }) => error?.code ?? status,
      codeOf,
    ),
  );

test('a verification that heals brings what it finds damaged back from the other store, whichever of the two it is', async () => {
  await spoil(older);
  await spoilArchive(newer);
  await inApp((app) => verify({ of: 'guest', guest: 'web' }, app, { signal }));
  expect(await found()).toHaveLength(2);
  const summary = await healed();
  const back = [
    { snapshot: newer, store: 'archive', from: 'local' },
    { snapshot: older, store: 'local', from: 'archive' },
  ];
  expect(summary).toMatchObject({ status: 'warning', error: null, damaged: 2, problems: [] });
  expect(summary.healed).toEqual(expect.arrayContaining(back));
  expect(await found()).toEqual([]);
  expect(await verdictOf(local, older)).toMatchObject({ ok: true });
  expect(await namesIn()).toEqual([
    ['20261121', '20261120'],
    ['20261121', '20261120'],
  ]);
  for (const store of ['local', 'archive']) expect(await readdir(scene.path(store, '.trash'))).toEqual([]);
  // The history knows the new manifests: nobody takes them for forged.
  expect(await healed()).toMatchObject({ status: 'success', ok: 4 });
});

test('without a sound copy elsewhere it says so, and leaves what is there', async () => {
  await spoil(older);
  const named = await inApp((app) => verify({ of: 'snapshot', snapshot: older }, app, { signal }));
  // As long as there is one, it is told where.
  expect(named.error?.message).toMatch(
    /in store local is damaged: .* Its copy in store archive is sound: .*--heal/,
  );
  await spoilArchive(older);
  const summary = await healed({ of: 'snapshot', snapshot: older });
  expect(summary).toMatchObject({
    status: 'failed',
    error: { code: 'SnapshotDamaged' },
    damaged: 2,
    healed: [],
  });
  expect(summary.warnings.join()).toContain('was not brought back');
  expect((await namesIn())[0]).toEqual(['20261121', '20261120']);
});

test('a removal takes a snapshot out of every store, or of one, with the reason in the history', async () => {
  expect(await removed({ store: 'archive' })).toBe('success');
  expect(await namesIn()).toEqual([['20261121', '20261120'], ['20261121']]);
  expect(await removed()).toBe('success');
  expect(await namesIn()).toEqual([['20261121'], ['20261121']]);
  const [job] = await inApp(({ history }) => history.jobs({ guest: 'web' }));
  expect(job).toMatchObject({ kind: 'remove', status: 'success' });
  expect(await inApp(({ history }) => history.snapshots({ guest: 'web' }))).toHaveLength(2);
  expect(await removed()).toBe('NoSuchSnapshot');
});

test('a pinned snapshot, and the last sound one of its guest, are not removed without force', async () => {
  await pinIn(local, older, true);
  expect(await removed()).toBe('SnapshotPinned');
  expect(await removed({ force: true })).toBe('success');
  // A damaged one is no loss, and its other copy is then the last.
  await spoil(newer);
  await healedNothing();
  expect(await removed({ name: newer, store: 'archive' })).toBe('LastSoundSnapshot');
  expect(await removed({ name: newer, store: 'local' })).toBe('success');
  expect(await removed({ name: newer })).toBe('LastSoundSnapshot');
  expect(await namesIn()).toEqual([[], ['20261121']]);
  expect(await removed({ name: newer, force: true })).toBe('success');
});

test('where no copy is sound, the last one whose bytes are right is not removed without force', async () => {
  expect(await removed()).toBe('success');
  expect(await removed({ name: newer, store: 'archive' })).toBe('success');
  const [row] = await inApp(({ history }) => history.snapshots({ guest: 'web' }));
  const bad = verification(newer, { store: 'local', result: 'badFilesystem' });
  await inApp(({ history }) => history.recordVerification(bad, { guest: 'web', job: row?.job ?? '' }));
  expect(await removed({ name: newer })).toBe('LastSoundSnapshot');
});

const twin = `${older}-1`;
/** As it is where a snapshot of a host that is gone, which was adopted, had the name in the archive before. */
const carryUnderOtherName = () =>
  inApp(async ({ history, stores }) => {
    const archive = stores.find(({ name }) => name === 'archive');
    if (!archive) throw new Error('no archive');
    await archive.moveToTrash(await archive.read(older));
    const { manifest, ...source } = await contentIn(local, older);
    const renamed = { ...source, manifest: amended(manifest, { snapshot: twin }) };
    await history.recordSnapshot(recordOf('archive', await archive.receive(renamed, {}), 'own'));
    const gone = storeAt(scene.path('gone'));
    await gone.prepare(null);
    await sealSparse(gone, older, undefined, { job: 'of-the-host-that-is-gone' });
    await history.recordSnapshot(
      recordOf('archive', await archive.receive(await contentIn(gone, older), {}), 'own'),
    );
  });

test('a removal takes the copy that lies under the next free name, and leaves what another job has under its own', async () => {
  await carryUnderOtherName();
  expect(await removed()).toBe('success');
  expect(await listed()).toMatchObject([[{ snapshot: newer }], [{ snapshot: newer }, { snapshot: older }]]);
  expect(await removed()).toBe('success');
  expect(await namesIn()).toEqual([['20261121'], ['20261121']]);
});

test('a damaged copy is passed over for the sound one that lies under the next free name, and brought back from it under its own', async () => {
  await carryUnderOtherName();
  await spoil(older);
  await healedNothing();
  const copy = () =>
    inApp(async (app) => {
      const { store, stored, passedOver } = await findCopy(app, { name: older });
      return [stored.snapshot, store.name, ...passedOver.map(({ store, why }) => `${store} ${why}`)];
    });
  expect(await copy()).toEqual([twin, 'archive', 'local damaged']);
  expect(await healed({ of: 'snapshot', snapshot: older })).toMatchObject({
    healed: [{ snapshot: older, store: 'local', from: 'archive' }],
  });
  expect(await copy()).toEqual([older, 'local']);
  expect(await verdictOf(local, older)).toMatchObject({ ok: true });
});

test('a store whose place is that of the first one is filled with nothing, and told as no second copy', async () => {
  const config = guestNamed(await loadConfig(scene.config), 'web');
  const [filled] = await inApp(async ({ history, stateDirectory }) => {
    const stores = { capturedInto: local, filled: [storeAt(scene.path('local'), 'again')], isStaging: false };
    const journal = new PhaseJournal(
      'job',
      { recordPhase: async () => {} },
      () => {},
      () => {},
    );
    return await fillStores({ config, stores, stateDirectory, signal }, { history, journal });
  });
  expect(filled?.problems).toEqual([expect.stringContaining('by its marker it is the store local as well')]);
  expect(await inApp(({ history }) => history.snapshots({ store: 'again' }))).toEqual([]);
});

test('a damaged copy is damaged still where the config calls its store by another name', async () => {
  await spoil(older);
  await healedNothing();
  const stores = {
    main: { type: 'directory', path: scene.path('local') },
    archive: { type: 'tar', path: scene.path('archive'), compression: 'none' },
  };
  const web = { mconsole: '/nowhere', disks: { ubd0: scene.path('web.img') }, store: ['main', 'archive'] };
  await scene.configure({ web }, { stores, defaults: { store: 'main' } });
  const recovered = await scene.run('recover');
  expect(recovered, recovered.stderr).toMatchObject({ exitCode: 0 });
  expect(await found()).toMatchObject([{ snapshot: older, store: 'main', result: 'damaged' }]);
});

const manifestIn = (snapshot: string) => join(scene.path('local'), ...snapshot.split('@'), 'manifest.json');
/** Of the first store, by a rule that keeps the newest. */
const pruned = () =>
  inApp(async ({ config, history, stateDirectory }) => {
    const guest = { ...guestNamed(config, 'web'), keep: { last: 1 } };
    return await prune(guest, { dryRun: false }, { stateDirectory, history, stores: [local] });
  });

test('a copy whose manifest is not the recorded one takes the place of no other, and is known as damaged by whoever asks the history', async () => {
  const { checksum: _, ...rest } = parseManifest(await readFile(manifestIn(newer), 'utf8'), newer);
  await writeFile(manifestIn(newer), formatManifest(sealManifest({ ...rest, labels: { forged: 'yes' } })));
  await pruned();
  expect((await namesIn())[0]).toEqual(['20261121', '20261120']);
  expect(await found()).toMatchObject([{ snapshot: newer, store: 'local' }]);
});

test('a pin outlives a manifest that can not be read, and its healing', async () => {
  const kept = await pinIn(local, older, true);
  await inApp(({ history }) => history.recordSnapshot(recordOf('local', kept, 'own')));
  await writeFile(manifestIn(older), '{broken');
  expect((await healed()).healed).toMatchObject([{ snapshot: older }]);
  await pruned();
  expect((await namesIn())[0]).toEqual(['20261121', '20261120']);
});

/** A verification alone. */
const healedNothing = () => inApp((app) => verify({ of: 'guest', guest: 'web' }, app, { signal }));

test('a guest that is halted when it is due is left out, and its other store gets its last snapshot, which that had missed', async () => {
  const last = 'web@20261122T000000Z';
  const { manifest } = await sealSparse(local, last);
  await inApp(({ history }) => history.recordSnapshot(recordOf('local', manifest, 'own')));
  await writeFile(scene.path('web.img'), 'x');
  const due = async (trigger: 'schedule' | 'manual') => {
    const config = guestNamed(await loadConfig(scene.config), 'web');
    const order = { config, trigger, labels: {}, pinned: false, dryRun: false, signal };
    return await inApp((app) =>
      backupWhenFree(order, {
        ...{ stateDirectory: app.stateDirectory, history: app.history, stores: app.storesOf(config) },
      }),
    );
  };
  const filled = [expect.objectContaining({ store: 'archive', carried: [last], problems: [] })];
  const error = { code: 'GuestHalted', phase: 'preflight' };
  expect(await due('schedule')).toMatchObject({
    status: 'skipped',
    error,
    filled,
    warnings: [],
    resumed: false,
  });
  expect((await namesIn())[1]).toEqual(['20261122', '20261121', '20261120']);
  // Nor are its stores asked in vain from then on.
  expect(await due('schedule')).toMatchObject({ status: 'skipped', error, filled: [] });
  expect(await due('manual')).toMatchObject({ status: 'failed', error: { code: 'NoMconsoleSocket' } });
});
