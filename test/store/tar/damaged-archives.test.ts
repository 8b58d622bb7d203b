import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import type { Compression } from '../../../src/config/store-config.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { roundsOr } from '../../support/rounds.js';
import { runTool } from '../../support/run-tool.js';
import {
  type ArchiveScene,
  archiveTo,
  dropArchiveScene,
  pair,
  restoreFailure,
  small,
  tarStoreIn,
  verdictOf,
  withArchiveScene,
} from './archive-scene.js';
import { zstdOf } from './compressed.js';

afterAll(dropArchiveScene);

/** Restores take longer than verifies: of so many places, one is restored from. */
const restoredOf = 4;

/** A store that holds these bytes as the archive of a snapshot. */
async function storeWith(
  path: string,
  snapshot: string,
  extension: string,
  bytes: Buffer,
): Promise<TarStore> {
  const [guest = '', name = ''] = snapshot.split('@');
  await mkdir(join(path, guest), { recursive: true });
  await writeFile(join(path, guest, `${name}${extension}`), bytes);
  return new TarStore({ name: 'archives', path, compression: 'none' });
}

async function archiveOf(
  scene: ArchiveScene,
  compression: Compression,
): Promise<{ bytes: Buffer; extension: string }> {
  const store = await tarStoreIn(scene.dir, compression);
  await store.receive(await scene.content(small), {});
  const { directory: path } = await store.read(small);
  return { bytes: await readFile(path), extension: basename(path).replace(/^[^.]*/, '') };
}

describe('one bit flipped in an archive', () => {
  test.each([
    ['zstd', roundsOr(30)],
    ['gzip', roundsOr(8)],
    ['none', roundsOr(8)],
  ] as const)(
    'of %s is found by verify and refused by restore, at each of %i random places',
    async (compression, places) => {
      await withArchiveScene(async (scene) => {
        const { bytes, extension } = await archiveOf(scene, compression);
        const bits = Array.from({ length: places }, () => Math.floor(Math.random() * bytes.length * 8));
        // Beside them, those that no decompressor minds: in the first header, and at the very end.
        bits.push(4 * 8 + 4, 9 * 8 - 1, bytes.length * 8 - 1, (bytes.length - 70) * 8);
        for (const [index, bit] of bits.entries()) {
          const dir = join(scene.dir, `flip-${index}`);
          const damaged = Buffer.from(bytes);
          damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          const store = await storeWith(join(dir, 'store'), small, extension, damaged);
          expect(await verdictOf(store, small), `bit ${bit}`).toMatchObject({ ok: false });
          if (index % restoredOf !== 0) continue;
          expect(await restoreFailure(store, small, join(dir, 'to')), `bit ${bit}`).not.toBeNull();
        }
      });
    },
    300_000,
  );

  test('is told by restore as damage of the snapshot, and nothing of it is left', async () => {
    await withArchiveScene(async (scene) => {
      const { bytes, extension } = await archiveOf(scene, 'zstd');
      bytes[bytes.length - 500] = (bytes[bytes.length - 500] ?? 0) ^ 1;
      const store = await storeWith(join(scene.dir, 'store'), small, extension, bytes);
      const to = join(scene.dir, 'to');
      expect(await restoreFailure(store, small, to)).toMatchObject({
        code: 'SnapshotDamaged',
        facts: { snapshot: small },
      });
      expect((await runTool('find', [to, '-type', 'f'])).toString()).toBe('');
    });
  });
});

describe('an archive cut short', () => {
  test('between two entries is found, though no decompressor and no tar minds', async () => {
    await withArchiveScene(async (scene) => {
      const path = join(scene.dir, 'whole.tar');
      await archiveTo(path, await scene.content(pair), 'none');
      const whole = await readFile(path);
      const starts = await entryStarts(path);
      expect(starts.length).toBe(4);
      for (const [index, start] of starts.slice(1).entries()) {
        const cut = whole.subarray(0, start);
        const ended = Buffer.concat([cut, Buffer.alloc(1024)]);
        const forms: [string, Buffer][] = [
          ['.tar', cut],
          ['.tar', ended],
          ['.tar.gz', gzipSync(ended)],
          ['.tar.zst', await zstdOf(ended)],
        ];
        // Two of them at each place, all of them in the end.
        for (const [extension, bytes] of [forms[index], forms[index + 1]] as typeof forms) {
          const store = await storeWith(
            join(scene.dir, `cut-${index}-${bytes.length}${extension}`),
            pair,
            extension,
            bytes,
          );
          expect(await verdictOf(store, pair)).toMatchObject({
            ok: false,
            problem: expect.stringMatching(/is missing: the archive ends before it$/),
          });
        }
      }
    });
  });

  test('anywhere is found, compressed by anything', async () => {
    await withArchiveScene(async (scene) => {
      for (const compression of ['zstd', 'gzip', 'none'] as const) {
        const { bytes, extension } = await archiveOf(scene, compression);
        const many = [0, 1, 300, 1200, bytes.length >> 1, bytes.length - 2100];
        for (const length of compression === 'zstd' ? many : [0, 300, bytes.length - 2100]) {
          const path = join(scene.dir, `short-${length}${extension}`);
          const store = await storeWith(path, small, extension, bytes.subarray(0, length));
          expect(await verdictOf(store, small), `${compression} ${length}`).toMatchObject({ ok: false });
        }
      }
    });
  });
});

/** Where each entry begins. GNU tar tells the block of its last header, and before that an image has two of PAX. */
async function entryStarts(path: string): Promise<number[]> {
  const lines = (await runTool('tar', ['-R', '-tf', path])).toString().trim().split('\n');
  const blocks = lines
    .filter((line) => !line.includes('Block of NULs'))
    .map((line) => Number(/^block (\d+):/.exec(line)?.[1]));
  return blocks.map((block) => 512 * Math.max(0, block - 2));
}
