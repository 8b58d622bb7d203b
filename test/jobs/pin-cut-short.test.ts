import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { recordedRows, restoreSourceOf } from '../../jobs/find-snapshot.js';
import { recover } from '../../jobs/recover.js';
import { recoverAtStart } from '../../jobs/recover-at-start.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { formatManifest, sealManifest } from '../../src/store/manifest.js';
import { freshStore } from '../store/fresh-store.js';
import { sealSparse } from '../store/sparse-snapshots.js';

/** A pin is durable in the store before the history hears of it: whoever dies between the two leaves just that. */

const snapshot = 'debian@20261121T031500Z';
const fresh = freshStore();
let store: DirectoryStore;
let history: SqliteHistory;
beforeEach(async () => {
  store = fresh.store;
  history = await SqliteHistory.open(join(fresh.dir, 'history.db'));
  await history.recordSnapshot(recordOf('local', (await sealSparse(store, snapshot)).manifest));
});
afterEach(() => history.close());

const source = async () =>
  restoreSourceOf({ store, stored: await store.read(snapshot) }, await recordedRows(history, 'debian'));

async function recovered() {
  const found = await recoverAtStart(history, []);
  const places = { scratchPlaces: [], drillScratch: join(fresh.dir, 'none') };
  await recover({ history, stores: [store], ...places }, found);
  return found;
}

test('a pin that the history was not told of leaves a snapshot that is restored, and that recover takes over', async () => {
  await store.setPinned(snapshot, true);
  expect((await source()).manifest.pinned).toBe(true);
  expect(await recovered()).toMatchObject({ indexed: [snapshot], problems: [] });
  expect((await history.snapshots({}))[0]?.pinned).toBe(true);
  expect(await recovered()).toMatchObject({ indexed: [], problems: [] });
});

test('anything else that was changed in a manifest is not trusted, whatever its own checksum says', async () => {
  const path = join(store.path, 'debian', '20261121T031500Z', 'manifest.json');
  const { checksum: _, ...manifest } = JSON.parse(await readFile(path, 'utf8'));
  const forged = sealManifest({ ...manifest, pinned: true, labels: { why: 'forged' } });
  await writeFile(path, formatManifest(forged));
  await expect(source()).rejects.toMatchObject({ code: 'SnapshotDamaged' });
  expect(await recovered()).toMatchObject({ indexed: [], problems: [expect.stringContaining(snapshot)] });
});
