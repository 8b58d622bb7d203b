import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import type { Compression } from '../../../src/config/store-config.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { roundsOr } from '../../support/rounds.js';
import { runTool } from '../../support/run-tool.js';
import { pair, restoreFailure, small, tarStoreIn, verdictOf } from './archive-scene.js';
import { freshArchiveScene } from './fresh-archive-scene.js';
import { zstdOf } from './hand-made.js';

const scene = freshArchiveScene();

/** Restores take longer than verifies: of so many places, one is restored from. */
const restoredOf = 4;

/** A store that holds these bytes as the archive of a snapshot. */
async function storeWith(name: string, snapshot: string, extension: string, bytes: Buffer) {
  const path = join(scene.dir, name);
  const archive = join(path, `${snapshot.replace('@', '/')}${extension}`);
  await mkdir(dirname(archive), { recursive: true });
  await writeFile(archive, bytes);
  return new TarStore({ name: 'archives', path, compression: 'none' });
}

async function archiveOf(snapshot: typeof pair | typeof small, compression: Compression) {
  const store = await tarStoreIn(scene.dir, compression);
  await store.receive(await scene.content(snapshot), {});
  const { directory: path } = await store.read(snapshot);
  return { path, bytes: await readFile(path), extension: basename(path).replace(/^[^.]*/, '') };
}

test.each([
  ['zstd', roundsOr(30)],
  ['gzip', roundsOr(8)],
  ['none', roundsOr(8)],
] as const)(
  'one bit flipped in an archive of %s is found by verify and refused by restore, at each of %i random places',
  async (compression, places) => {
    const { bytes, extension } = await archiveOf(small, compression);
    const bits = Array.from({ length: places }, () => Math.floor(Math.random() * bytes.length * 8));
    // Beside them, those that no decompressor minds: in the first header, and at the very end.
    bits.push(4 * 8 + 4, 9 * 8 - 1, bytes.length * 8 - 1, (bytes.length - 70) * 8);
    for (const [index, bit] of bits.entries()) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const store = await storeWith(`flip-${index}`, small, extension, damaged);
      expect(await verdictOf(store, small), `bit ${bit}`).toMatchObject({ ok: false });
      if (index % restoredOf !== 0) continue;
      const to = join(scene.dir, `to-${index}`);
      // Or it is listed as damaged already.
      expect(`${await restoreFailure(store, small, to)}`, `bit ${bit}`).toMatch(/SnapshotDamaged|is damaged/);
      expect(await readdir(to)).toEqual([]);
    }
  },
  300_000,
);

test('an archive cut short between two entries is found, though no decompressor and no tar minds', async () => {
  const { path, bytes: whole } = await archiveOf(pair, 'none');
  const starts = await entryStarts(path);
  expect(starts.length).toBe(4);
  for (const [index, start] of starts.slice(1).entries()) {
    const cut = whole.subarray(0, start);
    const ended = Buffer.concat([cut, Buffer.alloc(1024)]);
    const forms: [string, Buffer][] = [
      ['.tar', cut],
      ['.tar', ended],
      ['.tar.gz', gzipSync(ended)],
      ['.tar.zst', zstdOf(ended)],
    ];
    // Two of them at each place, all of them in the end.
    for (const [form, [extension, bytes]] of forms.slice(index, index + 2).entries()) {
      const store = await storeWith(`cut-${index}-${form}`, pair, extension, bytes);
      const problem = expect.stringMatching(/is missing: the archive ends before it$/);
      expect(await verdictOf(store, pair)).toMatchObject({ ok: false, problem });
    }
  }
});

test('an archive cut short anywhere is found, compressed by anything', async () => {
  for (const compression of ['zstd', 'gzip', 'none'] as const) {
    const { bytes, extension } = await archiveOf(small, compression);
    const many = [0, 1, 300, 1200, bytes.length >> 1, bytes.length - 2100];
    for (const length of compression === 'zstd' ? many : [0, 300, bytes.length - 2100]) {
      const cut = bytes.subarray(0, length);
      const store = await storeWith(`short-${length}${extension}`, small, extension, cut);
      expect(await verdictOf(store, small), `${compression} ${length}`).toMatchObject({ ok: false });
    }
  }
});

/** Where each entry begins. GNU tar tells the block of its last header, and before that an image has two of PAX. */
async function entryStarts(path: string): Promise<number[]> {
  const lines = (await runTool('tar', ['-R', '-tf', path])).toString();
  return [...lines.matchAll(/^block (\d+): (?!.*Block of NULs)/gm)].map(
    ([, block]) => 512 * Math.max(0, Number(block) - 2),
  );
}
