import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Filled } from '../../jobs/fill-stores.js';
import { sha256sum } from '../image/make-image.js';
import { expectRuns, type Scene, type Summary, setScene, ticker } from '../snapshot/scene.js';
import { configIn } from '../store/restic/restic-places.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** A guest whose first store is an archive: it is captured into a staging directory, and carried on from there. */

let dir: string;
let guest: RealGuest;
let scene: Scene;
let repository: string;
let staging: string;

beforeAll(async () => {
  dir = await makeTempDir();
  repository = join(dir, 'repository');
  staging = join(dir, 'state', 'staging', 'offsite');
  const { name: _, staging: __, passwordCommand: ___, ...offsite } = await configIn(dir, repository);
  guest = await bootGuest({ dir, writer: 'none', fillMiB: 12, rc: ticker });
  scene = await setScene({
    ...{ dir, mconsole: guest.socketPath, disks: guest.disks },
    stores: { offsite: { ...offsite }, local: join(dir, 'local') },
    settings: { pauseBudget: '60s', capture: 'copy' },
  });
});
afterAll(async () => {
  await guest?.kill();
  await removeTempDir(dir);
});

async function listed(): Promise<string[]> {
  const { json } = await scene.run('list', '--json');
  return json.map(({ snapshot, store, state }) => `${snapshot} ${store} ${state}`);
}

const carriedOf = (summary: Summary) =>
  (summary.filled as Filled[]).map(({ store, carried }) => [store, carried]);

async function waiting(): Promise<string[]> {
  return (await readdir(join(staging, 'debian'))).filter((name) => !name.startsWith('.'));
}

/** Restores it, and holds the disk against the checksum that was taken when it was sealed. */
async function expectRestorable(snapshot: string, to: string): Promise<void> {
  const shown = (await scene.run('show', snapshot, '--json')).json[0] as { disks: { sha256: string }[] };
  const restored = await scene.run('restore', snapshot, '--to', join(dir, to));
  expect({ ...restored, stdout: '', json: [] }).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await sha256sum(join(dir, to, 'ubd0.img'))).toBe(shown.disks[0]?.sha256);
}

let first: string;
let second: string;

test('a snapshot is carried into the archive, and leaves staging once it is there', async () => {
  const { summary } = await scene.snapshot();
  first = String(summary.snapshot);
  expect(summary.error).toBe(null);
  expect(carriedOf(summary)).toEqual([['offsite', [first]]]);
  expect(await waiting()).toEqual([]);
  expect(await listed()).toEqual([`${first} offsite sound`]);
  await expectRestorable(first, 'from-archive');
  await expectRuns(guest);
});

test('what an archive that is away has not got waits, is listed as that, and can be verified and restored', async () => {
  await rename(repository, `${repository}.away`);
  try {
    const { summary, exitCode } = await scene.snapshot();
    second = String(summary.snapshot);
    expect(summary.error).toBe(null);
    expect(exitCode).toBe(3);
    expect(summary.warnings.join()).toContain("store offsite does not have all of the guest's snapshots yet");
    expect(await listed()).toEqual([`${first} offsite unreachable`, `${second} offsite waiting`]);
    expect((await scene.run('verify', 'debian@latest')).exitCode).toBe(0);
    await expectRestorable(second, 'from-staging');
    await expectRuns(guest);
  } finally {
    await rename(`${repository}.away`, repository);
  }
});

test('one that is killed while it carries leaves it waiting, and the next one carries all of them', async () => {
  const job = scene.start(['snapshot', 'debian', '--json']);
  await waitFor('its snapshot to wait', async () => (await waiting()).length === 2, { everyMs: 5 });
  job.kill('SIGKILL');
  await job.exited;
  await expectRuns(guest);
  expect((await scene.run('recover')).exitCode).toBe(0);
  const third = (await listed()).at(-1)?.split(' ')[0] ?? '';
  const { summary } = await scene.snapshot();
  expect(summary.error).toBe(null);
  const newest = String(summary.snapshot);
  // The killed one may have carried the older one already, and even its own.
  const [[, carried] = []] = carriedOf(summary);
  expect([second, third, newest].slice(-(carried?.length ?? 0))).toEqual(carried);
  expect(await waiting()).toEqual([]);
  expect(await listed()).toEqual([first, second, third, newest].map((name) => `${name} offsite sound`));
});

test('a store that comes to it later gets from the archive what is no longer in staging', async () => {
  const config = JSON.parse(await readFile(scene.config, 'utf8'));
  config.defaults.store = ['offsite', 'local'];
  await writeFile(scene.config, JSON.stringify(config));
  const before = (await listed()).map((row) => row.split(' ')[0]);
  const { summary } = await scene.snapshot();
  expect(summary.warnings.filter((text) => text.startsWith('store'))).toEqual([]);
  expect(carriedOf(summary)).toEqual([
    ['offsite', [summary.snapshot]],
    ['local', [...before, summary.snapshot]],
  ]);
  const image = join(dir, 'local', 'debian', first.split('@')[1] ?? '', 'ubd0.img');
  expect(await sha256sum(image)).toBe(await sha256sum(join(dir, 'from-archive', 'ubd0.img')));
  expect(await waiting()).toEqual([]);
});
