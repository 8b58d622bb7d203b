import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { recover } from '../../jobs/recover.js';
import { verify } from '../../jobs/verify.js';
import { type App, withApp } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import { findCopies } from '../../src/copies/find-copy.js';
import { isError } from '../../src/errors.js';
import { recoverAtStart } from '../../src/job/recover-at-start.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { formatManifest, type Manifest, sealManifest } from '../../src/store/manifest.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { canTrace } from '../capture/traced.js';
import { flipByte, isWhole, theirs } from '../store/capture-of-tests.js';
import { storeAt } from '../store/fresh-store.js';
import { contentIn, sealSparse } from '../store/sparse-snapshots.js';
import { runCli } from '../support/cli.js';
import { lookAfterEachCall } from '../support/each-call.js';
import { roundsOr } from '../support/rounds.js';
import { Scene } from '../support/scene.js';
import { startScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';
import { doAllByHand, foreign, newer, older } from './by-hand.js';

const traceable = process.getuid?.() === 0 && (await canTrace());

let scene: Scene;
let place: string;
let copies = 0;
afterEach(async () => {
  await scene.remove();
  await removeTempDir(place);
});

/** In both stores: `older`, damaged in the directory, `newer`, damaged in the archives, and another host's. */
beforeEach(async () => {
  place = await makeTempDir(await roomInMemory());
  scene = new Scene({ guest: null });
  await scene.build();
  const stores = {
    local: { type: 'directory', path: scene.path('local') },
    archive: { type: 'tar', path: scene.path('archive'), compression: 'none' },
  };
  const web = { mconsole: '/nowhere', disks: { ubd0: scene.path('web.img') }, store: ['local', 'archive'] };
  await scene.configure({ web }, { stores });
  await scene.own();
  const local = storeAt(scene.path('local'));
  await inApp(scene.config, async ({ history, stores: all }) => {
    const archive = all.find(({ name }) => name === 'archive');
    if (!archive) throw new Error('no archive');
    for (const store of [local, archive])
      await history.rememberStore(store.name, (await store.prepare(null)).id);
    for (const snapshot of [older, newer, foreign]) {
      const owner = snapshot === foreign ? { owner: theirs } : {};
      const { manifest } = await sealSparse(local, snapshot, undefined, owner);
      const kept = await archive.receive(await contentIn(local, snapshot), {});
      if (snapshot === foreign) continue;
      await history.recordSnapshot(recordOf('local', await measuredOtherwise(local, manifest), 'own'));
      await history.recordSnapshot(recordOf('archive', kept, 'own'));
    }
    await flipByte(join(scene.path('local'), ...older.split('@'), 'ubd0.img'));
    await flipByte(`${join(scene.path('archive'), ...newer.split('@'))}.tar`, 0.5);
  });
  await inApp(scene.config, verified);
});

/** As a filesystem had it that gave its image less room: one that is brought back has another manifest. */
async function measuredOtherwise(
  store: DirectoryStore,
  { checksum: _, ...sealed }: Manifest,
): Promise<Manifest> {
  const disks = sealed.disks.map((disk) => ({ ...disk, storedBytes: disk.storedBytes - 4096 }));
  const manifest = sealManifest({ ...sealed, disks });
  await writeFile(join(store.path, ...sealed.snapshot.split('@'), 'manifest.json'), formatManifest(manifest));
  return manifest;
}

const inApp = async <T>(config: string, use: (app: App) => Promise<T>) =>
  await withApp(await loadConfig(config), use);
const { signal } = new AbortController();
const verified = (app: App) => verify({ of: 'guest', guest: 'web' }, app, { signal });

/** Of all that lies there while its owner stands still. @returns its config */
async function copyOfAll(): Promise<string> {
  const copy = join(place, `copy-${copies++}`);
  await cp(scene.dir, copy, { recursive: true, filter: (path) => !path.endsWith('-shm') });
  const config = scene.config.replace(scene.dir, copy);
  await writeFile(config, (await readFile(config, 'utf8')).replaceAll(scene.dir, copy));
  return config;
}

/** Of each store and name what it is, for people and for the test. */
async function lookAt(config: string): Promise<string[]> {
  return await inApp(config, async (app) => {
    const seen: string[] = [];
    for (const name of [older, newer, foreign]) {
      const found = await findCopies(app, { name }).catch((error: unknown) => {
        if (!isError(error, 'NoSuchSnapshot')) throw error;
        return { copies: [] };
      });
      for (const { store, stored, soundness, ownership } of found.copies) {
        const whole = isSound(stored) && (await isWhole(store, stored).catch(() => false));
        // What is called sound is, and what everybody has to read is there.
        if (soundness.type === 'sound' && !whole) throw new Error(`${name} in ${store.name} is called sound`);
        seen.push(
          `${name.slice(10, 12)} ${store.name} ${whole ? 'whole' : 'damaged'} ${soundness.type} ${ownership.type}`,
        );
      }
      const isThere = seen.some((one) => one.startsWith(`${name.slice(10, 12)} `) && one.includes('whole'));
      if (!isThere && name !== older) throw new Error(`${name} is lost`);
    }
    return seen;
  });
}

const inEnd = ['21', '22'].flatMap((day) =>
  ['local', 'archive'].map((store) => `${day} ${store} whole sound own`),
);

/** Somebody does the same once more; then nothing is left to be done, and nothing of what was begun. */
async function expectFinishedByTheNext(config: string): Promise<void> {
  await inApp(config, verified);
  // What is whole is no forgery: to look at it is enough.
  expect((await lookAt(config)).filter((one) => /whole (?!sound)/.test(one))).toEqual([]);
  await doAllByHand(config);
  expect(await lookAt(config)).toEqual(inEnd);
  await inApp(config, async (app) => {
    expect(await verified(app)).toMatchObject({ status: 'success', ok: 4 });
    const recovered = await recoverAtStart(app.history, []);
    await recover(app, recovered);
    expect(recovered.problems).toEqual([]);
    const rows = await app.history.snapshots({ guest: 'web' });
    expect(rows.map(({ snapshot, store, own }) => `${snapshot} ${store} ${own}`).sort()).toEqual(
      [newer, foreign].flatMap((name) => [`${name} archive true`, `${name} local true`]).sort(),
    );
    for (const store of app.stores.filter(({ name }) => !name.includes('/'))) {
      expect(await readdir(join(store.path, '.trash'))).toEqual([]);
      // What an archive in the making has left goes with the next one of the guest.
      if (store.name === 'local') expect(await readdir(join(store.path, 'web'))).toHaveLength(2);
    }
  });
}

/** Calls are counted, and wait for each other, in one. */
const oneThread = { UV_THREADPOOL_SIZE: '1' };
/** By which a change is there for good, or a name is another's; in a campaign it is looked at after every call. */
const lasts = /^(fsync|fdatasync|rename|unlink|rmdir)/;

describe.skipIf(!traceable)(`copies by hand${traceable ? '' : ' (skipped: needs root and strace)'}`, () => {
  test('a heal, an adoption and a removal that are killed at any place lose nothing that is sound, call nothing sound that is not, and are finished by the next', async () => {
    const child = startScript(new URL('./by-hand-child.ts', import.meta.url), [scene.config], oneThread);
    await child.waitForLine('ready');
    const seen = new Set<string>();
    const places = await lookAfterEachCall(child.pid, child.go, async (_nth, call) => {
      if (!lasts.test(call) && roundsOr(0) === 0) return;
      const config = await copyOfAll();
      const now = (await lookAt(config)).join();
      if (!seen.has(now)) await expectFinishedByTheNext(config);
      seen.add(now);
      await rm(dirname(config), { recursive: true });
    });
    // Before, between and after the two heals, the two adoptions and the two removals, and before what was found is forgotten.
    expect(seen.size).toBeGreaterThanOrEqual(9);
    expect(places).toBeGreaterThan(200);
    expect(await child.exited).toMatchObject({ exitCode: 0 });
    expect(await lookAt(scene.config)).toEqual(inEnd);
  }, 600_000);
});

describe.skipIf(!traceable)(
  `on a filesystem that can't exchange names${traceable ? '' : ' (skipped: needs root and strace)'}`,
  () => {
    /** As the kernel answers there, and with SIGKILL instead of its nth plain rename. */
    async function heal(killedAt?: number) {
      const kill = killedAt === undefined ? [] : ['-e', `inject=rename:signal=KILL:when=${killedAt}`];
      const faults = ['-e', 'trace=rename,renameat2', '-e', 'inject=renameat2:error=EINVAL', ...kill];
      const through = ['strace', '-f', '-qq', '-o', '/dev/null', ...faults];
      const what = killedAt === undefined ? ['--guest', 'web'] : [older];
      return await runCli(['verify', ...what, '--heal', '--config', scene.config], {
        through,
        env: oneThread,
      });
    }

    test('copies are healed all the same, and a death between the two renames leaves the sound copy in its other store, and no damaged one', async () => {
      const template = await copyOfAll();
      const { exitCode, stderr } = await heal();
      expect(exitCode, stderr).toBe(3);
      expect((await lookAt(scene.config)).filter((one) => one.includes('damaged'))).toEqual([]);
      expect(await lookAt(scene.config)).toHaveLength(6);
      scene.config = template;
      expect(await heal(2)).toMatchObject({ signal: 'SIGKILL' });
      const left = (await lookAt(template)).filter((one) => one.startsWith('20'));
      expect(left).toEqual(['20 archive whole sound own']);
      await expectFinishedByTheNext(template);
    });
  },
);
