import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load-config.js';
import { exposition } from '../../src/dashboard/metrics/exposition.js';
import { gather } from '../../src/dashboard/metrics/gather.js';
import { verdict } from '../../src/dashboard/pages/first-page.js';
import { readOverview } from '../../src/dashboard/read-overview.js';
import { sha256sum } from '../image/make-image.js';
import { flipByte } from '../store/capture-of-tests.js';
import { expectRuns, setScene } from '../support/scene.js';

/** A guest with two stores, whose copy in the first is damaged: what is called good, and how the second is reached. */

const scene = setScene({ guest: { sizeMiB: 48, fillMiB: 4 }, settings: { capture: 'copy' } });
let older: string;
let newer: string;
beforeAll(async () => {
  const stores = {
    local: { type: 'directory', path: scene.store },
    archive: { type: 'tar', path: scene.path('archive'), compression: 'none' },
  };
  await scene.configure({ debian: scene.settings({ store: ['local', 'archive'] }) }, { stores });
  [older, newer] = [
    String((await scene.snapshot()).summary.snapshot),
    String((await scene.snapshot()).summary.snapshot),
  ];
});

const run = async (exitCode: number, ...args: string[]) => {
  const result = await scene.run(...args);
  expect(result, result.stdout + result.stderr).toMatchObject({ exitCode });
  return result;
};
const archiveOf = (snapshot: string) => `${join(scene.path('archive'), ...snapshot.split('@'))}.tar`;
/** What pages and metrics say, by their own reading of the history. */
const shown = async () => {
  const config = await loadConfig(scene.config);
  return await scene.withHistory(async (history) => {
    const overview = await readOverview(config, history, () => null, new Date());
    const about = { rooms: [], startedAt: new Date().toISOString(), version: '0', isConfigRefused: false };
    const metrics = await exposition({ ...(await gather(overview, config, history)), ...about });
    const at = Number(/^umlsnap_last_success_timestamp_seconds\S* (\S+)$/m.exec(metrics)?.[1]);
    const unsound = Number(/^umlsnap_unsound_copies\S* (\S+)$/m.exec(metrics)?.[1]);
    return { page: verdict(overview).toString(), newest: overview[0]?.newest, at, unsound };
  });
};

test('after a verification has found the first copy damaged, the second is good, is taken, and is said', async () => {
  expect((await shown()).page).toContain('The guest is well');
  await flipByte(join(scene.directoryOf(newer), 'ubd0.img'), 0.4);
  await run(1, 'verify', newer);
  const { page, newest, unsound } = await shown();
  expect({ store: newest?.store, snapshot: newest?.snapshot, unsound }).toEqual({
    store: 'archive',
    snapshot: newer,
    unsound: 1,
  });
  expect(page).not.toContain('is well');
  expect(page).toContain(`damaged: ${newer} in local`);
  const refused = await run(1, 'restore', newer, '--store', 'local', '--to', scene.path('refused'));
  expect(refused.stderr).toContain('--store archive');
  const restored = await run(0, 'restore', 'debian@latest', '--to', scene.path('back'));
  expect(restored.stdout.split('\n')[0]).toBe(`${newer} from archive (local: damaged)`);
  const [{ disks, copies } = { disks: [], copies: [] }] = (await run(0, 'show', newer, '--json'))
    .json as never[] as {
    disks: { sha256: string }[];
    copies: { store: string; soundness: { type: string } }[];
  }[];
  expect(await sha256sum(scene.path('back', 'ubd0.img'))).toBe(disks[0]?.sha256);
  expect(copies.map(({ store, soundness }) => [store, soundness.type])).toEqual([
    ['local', 'damaged'],
    ['archive', 'sound'],
  ]);
  const list = await run(3, 'list');
  expect(list.stdout).toMatch(/local .*DAMAGED/);
  expect(list.stderr).toContain(`umlsnap verify ${newer} --heal`);
  await expectRuns(scene.guest);
});

test('where both are damaged, the one before counts as the last good one everywhere, and the refusal names both', async () => {
  await flipByte(archiveOf(newer), 0.5);
  // Found while it is read: nothing half-restored is left, and from then on it is known.
  const found = await run(1, 'restore', newer, '--to', scene.path('half'));
  expect(found.stderr).toContain('in store archive is damaged');
  expect(await readdir(scene.path('half')).catch(() => [])).toEqual([]);
  const { at, newest, unsound } = await shown();
  expect([newest?.snapshot, unsound]).toEqual([older, 2]);
  expect(at).toBe(Date.parse(newest?.takenAt ?? '') / 1000);
  const status = await run(0, 'status');
  expect(status.stdout).toContain(older);
  expect(status.stdout).toContain(`${newer} in store local is not sound`);
  const refused = await run(1, 'restore', newer, '--to', scene.path('refused'));
  for (const store of ['in store local', 'in store archive']) expect(refused.stderr).toContain(store);
  expect((await run(0, 'verify', 'debian@latest')).stdout).toContain(older);
});

test('a copy is brought back by hand from one that is sound, and a snapshot is removed on purpose', async () => {
  await flipByte(archiveOf(newer), 0.5);
  const healed = await run(3, 'verify', newer, '--heal');
  expect(healed.stderr).toContain('was brought back from store archive');
  expect((await shown()).page).toContain('The guest is well');
  expect((await run(2, 'remove', older)).stderr).toContain('--yes');
  await run(0, 'remove', older, '--yes');
  await run(13, 'remove', newer, '--yes');
  await run(0, 'remove', newer, '--yes', '--store', 'local');
  expect(await scene.snapshots()).toEqual([]);
  await run(10, 'restore', newer, '--store', 'nowhere', '--to', scene.path('x'));
  await expectRuns(scene.guest);
});
