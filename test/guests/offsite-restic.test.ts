import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Filled } from '../../jobs/fill-stores.js';
import { sha256sum } from '../image/make-image.js';
import { expectRuns, type Scene, type Summary, setScene, ticker } from '../snapshot/scene.js';
import { configIn, password, type ResticServer, startServer } from '../store/restic/restic-places.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** A guest whose snapshots go on from a directory to a repository of restic on the network. */

let dir: string;
let guest: RealGuest;
let scene: Scene;
let served: string;
let server: ResticServer;

beforeAll(async () => {
  dir = await makeTempDir();
  served = join(dir, 'served');
  server = await startServer(served);
  const { name: _, staging: __, passwordCommand: ___, ...offsite } = await configIn(dir, server.repository);
  guest = await bootGuest({ dir, writer: 'none', fillMiB: 12, rc: ticker });
  scene = await setScene({
    ...{ dir, mconsole: guest.socketPath, disks: guest.disks },
    stores: { local: join(dir, 'local'), offsite },
    settings: { pauseBudget: '60s', capture: 'copy', store: ['local', 'offsite'] },
  });
});
afterAll(async () => {
  await guest?.kill();
  await server?.end();
  await removeTempDir(dir);
});

const carriedOf = (summary: Summary) =>
  (summary.filled as Filled[]).map(({ store, carried }) => [store, carried]);
let first: string;

test('a server that is down is a warning with its name, and the guest has its snapshot and runs', async () => {
  await server.end();
  const { summary, exitCode, ...output } = await scene.snapshot();
  first = String(summary.snapshot);
  expect(summary.error).toBe(null);
  expect(exitCode).toBe(3);
  expect(summary.warnings.join()).toMatch(/offsite.*connection refused/);
  expect(JSON.stringify(output)).not.toContain(password);
  await expectRuns(guest);
});

test('what it has missed is caught up, and is verified and restored from there when this host has lost it', async () => {
  server = await startServer(served, server.port);
  const { summary } = await scene.snapshot();
  const second = String(summary.snapshot);
  expect(summary.error).toBe(null);
  expect(carriedOf(summary)).toEqual([['offsite', [first, second]]]);
  await expectRuns(guest);
  const image = join(dir, 'local', 'debian', first.split('@')[1] ?? '', 'ubd0.img');
  const sha256 = await sha256sum(image);
  await rename(join(dir, 'local'), join(dir, 'lost'));
  expect((await scene.run('verify', first)).exitCode).toBe(0);
  const restored = await scene.run('restore', first, '--to', join(dir, 'restored'));
  expect({ ...restored, stdout: '', json: [] }).toMatchObject({ exitCode: 0 });
  expect(await sha256sum(join(dir, 'restored', 'ubd0.img'))).toBe(sha256);
});
