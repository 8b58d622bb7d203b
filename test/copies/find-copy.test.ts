import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verify } from '../../jobs/verify.js';
import { type App, withApp } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import { byTime, type CopyQuery, findCopies, findCopy } from '../../src/copies/find-copy.js';
import { guestStatus } from '../../src/daemon/guest-status.js';
import { judgeResults } from '../../src/doctor/judge-results.js';
import { explainError } from '../../src/error-text.js';
import { UmlsnapError } from '../../src/errors.js';
import type { VerifyResult } from '../../src/history/records.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { snapshot, verification } from '../history/records-of-tests.js';
import { storeAt } from '../store/fresh-store.js';
import { sealSparse } from '../store/sparse-snapshots.js';
import { Scene } from '../support/scene.js';

/** Which copy of a snapshot is read. Three stores: all have the older one, and `late` has not got the newer. */

const [older, newer] = ['web@20261120T000000Z', 'web@20261121T000000Z'];
let scene: Scene;
beforeAll(async () => {
  scene = new Scene({ guest: null });
  await scene.build();
  await scene.own();
  const stores = Object.fromEntries(
    ['local', 'archive', 'late'].map((name) => [name, { type: 'directory', path: scene.path(name) }]),
  );
  const web = { mconsole: '/nowhere', disks: { ubd0: '/srv/web.img' }, store: ['local', 'archive', 'late'] };
  await scene.configure({ web }, { stores });
  await inApp(async ({ history }) => {
    for (const name of ['local', 'archive', 'late']) {
      const store = storeAt(scene.path(name), name);
      await history.rememberStore(name, (await store.prepare(null)).id);
      for (const snapshot of name === 'late' ? [older] : [older, newer])
        await history.recordSnapshot(recordOf(name, (await sealSparse(store, snapshot)).manifest, 'own'));
    }
  });
});
afterAll(() => scene.remove());

const inApp = async <T>(use: (app: App) => Promise<T>) => await withApp(await loadConfig(scene.config), use);
const found = (query: CopyQuery) =>
  inApp(async (app) => {
    try {
      const { store, stored, passedOver } = await findCopy(app, query);
      return [stored.snapshot, store.name, ...passedOver.map((one) => `${one.store} ${one.why}`)];
    } catch (error) {
      return [error instanceof UmlsnapError ? error.code : '', explainError(error)];
    }
  });
const say = (snapshot: string, store: string, result: VerifyResult) =>
  inApp(({ history }) =>
    history.recordVerification(verification(snapshot, { store, result }), {
      ...{ guest: 'web', job: snapshot.replace('web@', 'job-') },
    }),
  );

test('the newest is that by its time, whatever its guest is called, and of one second the one that came later', () => {
  for (const guest of ['web', 'NZ-web', 'web-AZ-1', 'a@b']) {
    const names = ['20261129T031500Z', '20261130T031500Z', '20261130T031500Z-2', '20261130T031500Z-10'];
    const inOrder = names.map((time) => `${guest}@${time}`);
    expect([...inOrder].reverse().sort(byTime)).toEqual(inOrder);
  }
});

test('it is the first in the order of the config, and of latest the newest', async () => {
  expect(await found({ name: older })).toEqual([older, 'local']);
  expect(await found({ name: 'web@latest' })).toEqual([newer, 'local']);
  expect(await found({ name: older, store: 'late' })).toEqual([older, 'late']);
  expect(await found({ name: 'web@latest', store: 'late' })).toEqual([older, 'late']);
});

test('what lies in a store that the config had once counts nowhere', async () => {
  await inApp(async ({ config, history }) => {
    const { web } = config.guests;
    const lost = ['web@20261122T000000Z', 'web@20261123T000000Z'];
    for (const name of lost)
      await history.recordSnapshot(
        snapshot(name, { guest: 'web', store: 'dropped', takenAt: '2026-11-22T00:00:00.000Z', job: name }),
      );
    await history.recordVerification(verification(lost[0] ?? '', { store: 'dropped', result: 'damaged' }));
    if (!web) throw new Error();
    const status = await guestStatus(web, { config, history, source: null }, new Date());
    expect(status).toMatchObject({ lastSnapshot: { snapshot: newer, store: 'local' }, unsound: [] });
    const [backups, copies] = await judgeResults(web, config, history, new Date());
    expect(copies?.facts).toMatchObject({ copies: 5, unsound: [] });
    expect(JSON.stringify(backups)).not.toContain('20261122');
  });
});

test('what nobody knows whose it is, and is damaged, is told by whoever verifies, and is none of our guest’s', async () => {
  const strange = 'web@20261124T000000Z';
  await mkdir(scene.path('local', ...strange.split('@')));
  await writeFile(scene.path('local', ...strange.split('@'), 'manifest.json'), '{');
  await inApp(async ({ config, stores, history, stateDirectory, isDrilled }) => {
    const deps = { config, stores, history, stateDirectory, isDrilled };
    const work = { signal: new AbortController().signal };
    for (const scope of [
      { of: 'guest', guest: 'web' } as const,
      { of: 'snapshot', snapshot: strange } as const,
    ])
      expect((await verify(scope, deps, work)).error?.message).toContain(strange);
    const { web } = config.guests;
    if (!web) throw new Error();
    const status = async () => await guestStatus(web, { config, history, source: null }, new Date());
    expect((await status()).unsound).toEqual([]);
    // Of one of ours the same is told, though no row tells of it: the history was lost.
    await history.recordVerification(verification(strange, { result: 'damaged' }));
    expect((await status()).unsound).toHaveLength(1);
    const others = snapshot(strange, { guest: 'web', own: false });
    await history.recordSnapshot(others);
    expect((await status()).unsound).toEqual([]);
    await history.forgetFindings('local', strange);
    await history.forgetSnapshot('local', strange, { removedAt: new Date().toISOString(), reason: 'a test' });
  });
  await rm(scene.path('local', ...strange.split('@')), { recursive: true });
});

test('one that is damaged is passed over, and refused by name with the store that has a sound one', async () => {
  await say(newer, 'local', 'damaged');
  expect(await found({ name: newer })).toEqual([newer, 'archive', 'local damaged']);
  expect(await found({ name: 'web@latest' })).toEqual([newer, 'archive', 'local damaged']);
  const [code, text] = await found({ name: newer, store: 'local' });
  expect(code).toBe('SnapshotDamaged');
  expect(text).toContain('--store archive');
  // Whoever verifies it looks at it again.
  expect(await found({ name: newer, store: 'local', takesUnsound: true })).toEqual([newer, 'local']);
});

test('latest is the one before where no copy of the newest is sound; by its name each copy is told, and what is to be done', async () => {
  // A filesystem that is bad speaks against `archive`, and against the copy that was looked at.
  await say(newer, 'local', 'badFilesystem');
  expect(await found({ name: 'web@latest' })).toEqual([older, 'local']);
  await say(newer, 'local', 'damaged');
  const [code, text = ''] = await found({ name: newer });
  expect(code).toBe('SnapshotDamaged');
  for (const part of [
    'in store local, its last verification',
    'in store archive, a verification in local',
    '--store archive',
  ])
    expect(text).toContain(part);
  // Its bytes are as they were captured: it may be all that there is.
  expect(await found({ name: newer, store: 'archive' })).toEqual([newer, 'archive']);
  expect(await found({ name: newer, takesUnsound: true })).toEqual([newer, 'local']);
  await say(newer, 'archive', 'ok');
});

test('a store that is away is passed over with a note, and is the answer where nobody else has it', async () => {
  await rename(scene.path('local'), scene.path('away'));
  try {
    expect(await found({ name: older })).toEqual([older, 'archive', 'local away']);
    expect((await found({ name: 'web@20261122T000000Z' }))[0]).toBe('StoreNotMounted');
    expect((await found({ name: older, store: 'local' }))[0]).toBe('StoreNotMounted');
    const { copies, away } = await inApp((app) => findCopies(app, { name: older }));
    expect(copies.map(({ store }) => store.name)).toEqual(['archive', 'late']);
    expect(away.map((error) => error.code)).toEqual(['StoreNotMounted']);
  } finally {
    await rename(scene.path('away'), scene.path('local'));
  }
});

test('one that its store lists as damaged counts as that, and names of nothing are names of nothing', async () => {
  const at = scene.path('local', ...older.split('@'));
  const [file = ''] = (await readdir(at)).filter((name) => name.endsWith('.img'));
  await rm(`${at}/${file}`);
  expect(await found({ name: older })).toEqual([older, 'archive', 'local damaged']);
  for (const name of ['web@20261122T000000Z', 'nobody@latest', '@latest', 'web', '../web@latest', ''])
    expect((await found({ name }))[0]).toBe('NoSuchSnapshot');
  expect((await found({ name: older, store: 'nowhere' }))[0]).toBe('NoSuchStore');
});
