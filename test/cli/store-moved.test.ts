import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { contextOf } from '../../src/cli/context.js';
import { storeMovedVerb } from '../../src/cli/store-moved.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { sealSparse } from '../store/sparse-snapshots.js';
import { withTempDir } from '../support/temp-dir.js';

const snapshot = 'debian@20261121T031500Z';

test('a store is known by its marker wherever it is moved, and what took its place is taken for it only if somebody says so', () =>
  withTempDir(async (dir) => {
    const config = join(dir, 'config.yaml');
    const place = async (path: string) => {
      const store = { type: 'directory', path };
      await writeFile(
        config,
        JSON.stringify({ state: join(dir, 'state'), stores: { local: store }, dashboard: false }),
      );
    };
    const moved = (options = {}) =>
      storeMovedVerb(contextOf({ config, quiet: true }), 'local', options).catch((error: unknown) => error);
    const withHistory = async <T>(use: (history: SqliteHistory) => Promise<T>): Promise<T> => {
      const history = await SqliteHistory.open(join(dir, 'state/history.db'));
      return await use(history).finally(() => history.close());
    };

    const old = new DirectoryStore({ name: 'local', path: join(dir, 'old') });
    const { id } = await old.prepare(null);
    const { manifest } = await sealSparse(old, snapshot);
    await withHistory(async (history) => {
      await history.rememberStore('local', id);
      await history.recordSnapshot(recordOf('local', manifest, 'own'));
    });
    await rename(join(dir, 'old'), join(dir, 'new'));
    await place(join(dir, 'new'));
    expect(await moved()).toBe(0);

    const known = () =>
      withHistory(async (history) => [await history.storeId('local'), (await history.snapshots({})).length]);
    await mkdir(join(dir, 'empty'), { mode: 0o700 });
    await place(join(dir, 'empty'));
    expect(await moved()).toMatchObject({ code: 'StoreReplaced', facts: { path: join(dir, 'empty') } });
    expect(await known()).toEqual([id, 1]);
    expect(await moved({ yes: true })).toBe(0);
    expect(await known()).toEqual([expect.not.stringMatching(id), 0]);
    await place(join(dir, 'new'));
    expect(await moved()).toMatchObject({
      code: 'StoreReplaced',
      facts: { problem: expect.stringContaining(id) },
    });
    expect(await moved({ yes: true })).toBe(0);
    expect(await known()).toEqual([id, 1]);
  }));
