import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Filled } from '../../jobs/fill-stores.js';
import { sha256sum } from '../image/make-image.js';
import { configIn, password, type ResticServer, startServer } from '../store/restic/restic-places.js';
import { setScene } from '../support/scene.js';

/** A guest whose snapshots go on from a directory to a repository of restic on the network. */

const scene = setScene({
  guest: { sizeMiB: 48, fillMiB: 4 },
  settings: { capture: 'copy', store: ['local', 'offsite'] },
});
let server: ResticServer;
beforeAll(async () => {
  server = await startServer(scene.path('served'));
  const { dir, store: path } = scene;
  const { name: _, staging: __, passwordCommand: ___, ...offsite } = await configIn(dir, server.repository);
  const stores = { local: { type: 'directory', path }, offsite };
  await scene.configure({ debian: scene.settings() }, { stores });
});
afterAll(() => server?.end());

test('a server that is down is a warning with its name, and what it has missed is caught up, and is verified and restored from there when this host has lost it', async () => {
  await server.end();
  const { summary: whileDown, exitCode, ...output } = await scene.snapshot();
  const first = String(whileDown.snapshot);
  expect(whileDown.error).toBe(null);
  expect(exitCode).toBe(3);
  expect(whileDown.warnings.join()).toMatch(/offsite.*connection refused/);
  expect(JSON.stringify([whileDown, output])).not.toContain(password);
  await scene.expectWell();

  server = await startServer(scene.path('served'), server.port);
  const { summary } = await scene.snapshot();
  expect(summary.error).toBe(null);
  const [filled] = summary.filled as Filled[];
  expect(filled).toMatchObject({ store: 'offsite', carried: [first, summary.snapshot] });
  await scene.expectWell();

  const sha256 = await sha256sum(join(scene.directoryOf(first), 'ubd0.img'));
  await rename(scene.store, scene.path('lost'));
  expect((await scene.run('verify', first)).exitCode).toBe(0);
  expect(await scene.run('restore', first, '--to', scene.path('restored'))).toMatchObject({ exitCode: 0 });
  expect(await sha256sum(scene.path('restored', 'ubd0.img'))).toBe(sha256);
});
