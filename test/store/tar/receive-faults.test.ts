import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import type { Compression } from '../../../src/config/store-config.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { startScript } from '../../support/script-child.js';
import { mountLoopFilesystem, whyNoLoopMount } from '../../support/loop-filesystem.js';
import { fillUpTo } from '../fill-up.js';
import { dropArchiveScene, pair, small, tarStoreIn, verdictOf, withArchiveScene } from './archive-scene.js';

afterAll(dropArchiveScene);

const noLoop = whyNoLoopMount('ext4');
if (noLoop !== undefined) console.warn(`SKIPPED: a full store of archives: ${noLoop}`);

describe.skipIf(noLoop !== undefined)('a full store of archives', () => {
  test.each(['zstd', 'gzip', 'none'] as const)(
    '(%s) says so at whichever write meets the end, lists nothing, leaves nothing, and works again with room',
    async (compression) => {
      await withArchiveScene(async (scene) => {
        const filesystem = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 24 });
        try {
          await fillAndReceive(filesystem.mountPoint, compression, await scene.content(pair));
        } finally {
          await filesystem.remove();
        }
      });
    },
    180_000,
  );
});

async function fillAndReceive(
  path: string,
  compression: Compression,
  content: Parameters<TarStore['receive']>[0],
): Promise<void> {
  const store = new TarStore({ name: 'archives', path, compression });
  await store.prepare(null);
  const ends = new Set<string>();
  // No room for the directory, for the head, in the middle, for the last blocks; and enough.
  const all = [0, 4, 12, 300, 4000, 6200, 9_000, 16_000];
  for (const leftKib of compression === 'zstd' ? all : [4000, 16_000]) {
    const filler = await fillUpTo(join(path, 'filler'), leftKib);
    const failure = await store.receive(content, {}).then(
      () => null,
      (error: unknown) => error,
    );
    await rm(filler);
    ends.add(failure === null ? 'received' : 'full');
    if (failure === null) {
      expect(await verdictOf(store, pair)).toMatchObject({ ok: true });
      await store.moveToTrash(pair);
      await store.emptyTrash();
    } else {
      expect(failure).toMatchObject({ code: 'StoreTooFull', facts: { store: 'archives' } });
    }
    expect(await store.list()).toEqual([]);
    const left = await readdir(join(path, 'pair')).catch(() => []);
    expect(left).toEqual([]);
  }
  expect(ends).toEqual(new Set(['full', 'received']));
}

describe('a receive that is killed', () => {
  test('with SIGKILL at any moment lists nothing or a whole snapshot, and the next one removes what is left', async () => {
    await withArchiveScene(async (scene) => {
      const store = await tarStoreIn(scene.dir, 'zstd');
      const outcomes = new Set<number>();
      for (const waitMs of [0, 100, 400]) {
        const child = startScript(new URL('./receive-child.ts', import.meta.url), [
          scene.source.path,
          store.path,
          small,
        ]);
        await child.waitForLine('ready');
        child.go();
        await sleep(waitMs);
        child.kill('SIGKILL');
        await child.exited;
        const listed = await store.list();
        outcomes.add(listed.length);
        for (const { snapshot } of listed) {
          expect(await verdictOf(store, snapshot)).toMatchObject({ ok: true });
          await store.moveToTrash(snapshot);
        }
      }
      expect(outcomes.has(0)).toBe(true);
      await store.receive(await scene.content(small), {});
      expect(await readdir(join(store.path, 'small'))).toEqual(['20261121T031500Z.tar.zst']);
    });
  });
});
