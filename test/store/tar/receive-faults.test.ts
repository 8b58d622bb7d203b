import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { whyNoLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { startScript } from '../../support/script-child.js';
import { fillUpTo } from '../fill-up.js';
import { pair, small, tarStoreIn, verdictOf } from './archive-scene.js';
import { freshArchiveScene } from './fresh-archive-scene.js';
import { trashIn } from '../capture-of-tests.js';

const scene = freshArchiveScene();

const noLoop = whyNoLoopMount('ext4');
if (noLoop !== undefined) console.warn(`SKIPPED: a full store of archives: ${noLoop}`);

// No room for the directory, for the head, in the middle, for the last blocks; and enough.
test.skipIf(noLoop !== undefined).each([
  ['zstd', [0, 4, 12, 300, 4000, 6200, 9_000, 16_000]],
  ['gzip', [4000, 16_000]],
  ['none', [4000, 16_000]],
] as const)(
  'a full store of archives (%s) says so at whichever write meets the end, lists nothing, leaves nothing, and works again with room',
  async (compression, rooms) => {
    const content = await scene.content(pair);
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 24 }, async (path) => {
      const store = new TarStore({ name: 'archives', path, compression });
      await store.prepare(null);
      const ends = new Set<string>();
      for (const leftKib of rooms) {
        const filler = await fillUpTo(join(path, 'filler'), leftKib);
        const outcome: unknown = await store.receive(content, {}).catch((error: unknown) => error);
        await rm(filler);
        const isFull = outcome instanceof Error;
        ends.add(isFull ? 'full' : 'received');
        if (isFull) {
          expect(outcome).toMatchObject({ code: 'StoreTooFull', facts: { store: 'archives' } });
        } else {
          expect(await verdictOf(store, pair)).toMatchObject({ ok: true });
          await trashIn(store, pair);
          await store.emptyTrash();
        }
        expect(await store.list()).toEqual([]);
        expect(await readdir(join(path, 'pair')).catch(() => [])).toEqual([]);
      }
      expect(ends).toEqual(new Set(['full', 'received']));
    });
  },
);

test('a receive that is killed with SIGKILL at any moment lists nothing or a whole snapshot, and the next one removes what is left', async () => {
  const store = await tarStoreIn(scene.dir, 'zstd');
  const outcomes = new Set<number>();
  for (const waitMs of [0, 100, 400]) {
    const script = new URL('./receive-child.ts', import.meta.url);
    const child = startScript(script, [scene.source.path, store.path, small]);
    await child.waitForLine('ready');
    child.go();
    await sleep(waitMs);
    child.kill('SIGKILL');
    await child.exited;
    const listed = await store.list();
    outcomes.add(listed.length);
    for (const { snapshot } of listed) {
      expect(await verdictOf(store, snapshot)).toMatchObject({ ok: true });
      await trashIn(store, snapshot);
    }
  }
  expect(outcomes.has(0)).toBe(true);
  // One that has come as far as to its file, whatever the others have left.
  await mkdir(join(store.path, 'small'), { recursive: true });
  await writeFile(join(store.path, 'small', '.incoming-0123456789abcdef'), 'half an archive');
  expect(await store.list()).toEqual([]);
  await store.receive(await scene.content(small), {});
  expect(await readdir(join(store.path, 'small'))).toEqual(['20261121T031500Z.tar.zst']);
});
