import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { Filled } from '../../src/copies/fill-stores.js';
import { sha256sum } from '../image/make-image.js';
import { configIn, makeKeyCheap, password } from '../store/restic/restic-places.js';
import { expectRuns, type Summary, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** A guest whose first store is an archive: it is captured into a staging directory, and carried on from there. */

const scene = setScene({ guest: { sizeMiB: 48, fillMiB: 4 }, settings: { capture: 'copy' } });
let repository: string;
beforeAll(async () => {
  repository = scene.path('repository');
  scene.store = scene.path('state', 'staging', 'offsite');
  await configure(['offsite']);
});

/** With these stores, of which `offsite` is a repository of restic's. */
async function configure(store: string[]): Promise<void> {
  const { name: _, staging: __, passwordCommand: ___, ...offsite } = await configIn(scene.dir, repository);
  const stores = { offsite, local: { type: 'directory', path: scene.path('local') } };
  await scene.configure({ debian: scene.settings({ store }) }, { stores });
}

async function listed(): Promise<string[]> {
  const { json } = await scene.run('list', '--json');
  return json.map(({ snapshot, store, state }) => `${snapshot} ${store} ${state}`);
}

const carriedOf = (summary: Summary) =>
  (summary.filled as Filled[]).map(({ store, carried }) => [store, carried]);

/** Restores it, and holds the disk against the checksum that was taken when it was sealed. */
async function expectRestorable(snapshot: string, to: string): Promise<void> {
  const shown = (await scene.run('show', snapshot, '--json')).json[0] as { disks: { sha256: string }[] };
  const restored = await scene.run('restore', snapshot, '--to', scene.path(to));
  expect(restored).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await sha256sum(scene.path(to, 'ubd0.img'))).toBe(shown.disks[0]?.sha256);
}

let first: string;
let second: string;

test('a snapshot is carried into the archive, and leaves staging once it is there', async () => {
  const { summary } = await scene.snapshot();
  first = String(summary.snapshot);
  expect(summary.error).toBe(null);
  expect(carriedOf(summary)).toEqual([['offsite', [first]]]);
  expect(await scene.snapshots()).toEqual([]);
  await makeKeyCheap(repository);
  expect((await scene.run('verify', first)).exitCode).toBe(0);
  await expectRestorable(first, 'from-archive');
  await expectRuns(scene.guest);
});

test('what an archive that is away has not got waits, is listed as that, and can be verified and restored', async () => {
  await rename(repository, `${repository}.away`);
  try {
    const { summary, exitCode, stderr } = await scene.snapshot();
    second = String(summary.snapshot);
    expect(summary.error).toBe(null);
    expect(exitCode).toBe(3);
    expect(summary.warnings.join()).toContain("store offsite does not have all of the guest's snapshots yet");
    expect(JSON.stringify([summary, stderr])).not.toContain(password);
    expect(await listed()).toEqual([`${first} offsite unreachable`, `${second} offsite waiting`]);
    expect((await scene.run('verify', 'debian@latest')).exitCode).toBe(0);
    await expectRestorable(second, 'from-staging');
    await expectRuns(scene.guest);
  } finally {
    await rename(`${repository}.away`, repository);
  }
});

test('a job that is killed while it carries leaves it waiting, and the next one carries all of them, also into a store that comes to it later and what is no longer in staging', async () => {
  const job = scene.startSnapshot();
  const newest = async () => (await scene.snapshots())[1];
  const third = await waitFor('its snapshot to wait', newest, { everyMs: 5 });
  job.kill('SIGKILL');
  await job.exited;
  await expectRuns(scene.guest);
  expect((await scene.run('recover')).exitCode).toBe(0);
  await configure(['offsite', 'local']);
  const { summary } = await scene.snapshot();
  expect(summary.warnings.filter((text) => text.startsWith('store'))).toEqual([]);
  expect(summary.error).toBe(null);
  const all = [first, second, third, summary.snapshot];
  const [[, offsite] = [], local] = carriedOf(summary);
  // The killed one may have carried the older one already, and even its own.
  expect(all.slice(1).slice(-(offsite?.length ?? 0))).toEqual(offsite);
  expect(local).toEqual(['local', all]);
  expect(await scene.snapshots()).toEqual([]);
  const sound = (store: string) => all.map((name) => `${name} ${store} sound`);
  expect((await listed()).sort()).toEqual([...sound('offsite'), ...sound('local')].sort());
  const image = scene.path('local', join(...first.split('@')), 'ubd0.img');
  expect(await sha256sum(image)).toBe(await sha256sum(scene.path('from-archive', 'ubd0.img')));
});
