import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { readProcessStat } from '../../../src/process-identity.js';
import { formatManifest } from '../../../src/store/manifest.js';
import { withHandOver } from '../../../src/store/restic/hand-over.js';
import { withoutZeros } from '../../../src/store/restic/restic-image.js';
import type { SnapshotContent } from '../../../src/store/store.js';
import { allocatedBytes, makeImage, sha256sum } from '../../image/make-image.js';
import { freshStore } from '../fresh-store.js';
import { contentIn, cowAndHole, emptyImage, sealSparse, tamperedIn } from '../sparse-snapshots.js';

const snapshot = 'pair@20261119T031500Z';
const fresh = freshStore();
let dir: string;
let root: string;
let source: SnapshotContent;
/** Where it lies in the store. */
let sealed: string;

beforeEach(async () => {
  dir = fresh.dir;
  root = join(dir, 'handed', 'over');
  ({ directory: sealed } = await sealSparse(fresh.store, snapshot, await cowAndHole(dir)));
  source = await contentIn(fresh.store, snapshot);
});

test('files of a directory store are handed over by links, without a copy, under names that are the same everywhere', async () => {
  await withHandOver(root, source, {}, async ({ directory, files, requireUntouched }) => {
    expect(files.map(({ path }) => path)).toEqual([
      'manifest.json',
      'disks/ubd0.cow',
      'disks/ubd3.img',
      `backing/${source.manifest.disks[0]?.backing?.file}`,
    ]);
    for (const { path, sizeBytes } of files) expect((await stat(join(directory, path))).size).toBe(sizeBytes);
    expect(await readlink(join(directory, 'disks'))).toBe(sealed);
    expect(await readFile(join(directory, 'manifest.json'), 'utf8')).toBe(formatManifest(source.manifest));
    await requireUntouched();
  });
  expect(await readdir(root)).toEqual([]);
  expect(await readdir(sealed)).toHaveLength(3);
});

test('what comes as a stream is written first, as sparse as it came', async () => {
  const streamed: SnapshotContent = {
    ...source,
    openFile: async (file) => streamOf(await source.openFile(file)),
  };
  await withHandOver(root, streamed, {}, async ({ directory, requireUntouched }) => {
    const copy = join(directory, 'disks', 'ubd0.cow');
    expect(await sha256sum(copy)).toBe(source.manifest.disks[0]?.sha256);
    expect(await allocatedBytes(copy)).toBeLessThan(6_000_000);
    await requireUntouched();
  });
  expect(await readdir(root)).toEqual([]);
});

function streamOf(content: Awaited<ReturnType<SnapshotContent['openFile']>>): typeof content {
  if (content.from !== 'file') throw new Error('no file');
  const { handle } = content;
  async function* pieces() {
    let offset = 0;
    for await (const data of handle.createReadStream({ autoClose: false })) {
      yield { offset, data };
      offset += data.length;
    }
  }
  return { from: 'stream', pieces: withoutZeros(pieces()), close: () => content.close() };
}

test('a file whose name leads to another one by now is copied from where it is open', async () => {
  const file = join(sealed, 'ubd3.img');
  const openFile: SnapshotContent['openFile'] = async (name) => {
    const content = await source.openFile(name);
    if (name !== 'ubd3.img') return content;
    await rename(file, `${file}.moved`);
    await makeImage(file, emptyImage.sizeBytes, [{ offset: 0, length: 10 }]);
    return content;
  };
  await withHandOver(root, { ...source, openFile }, {}, async ({ directory }) => {
    expect(await sha256sum(join(directory, 'disks', 'ubd3.img'))).toBe(source.manifest.disks[1]?.sha256);
  });
});

test('a file that is not what its manifest says, or is changed while it is handed over, is refused', async () => {
  const tampered = await tamperedIn(fresh.store, snapshot, dir);
  const used = withHandOver(root, tampered, {}, async () => 'used');
  await expect(used).rejects.toMatchObject({ code: 'SnapshotDamaged' });
  const changed = withHandOver(root, source, {}, async ({ requireUntouched }) => {
    await utimes(join(sealed, 'ubd3.img'), 0, 0);
    await requireUntouched();
  });
  await expect(changed).rejects.toMatchObject({
    code: 'SnapshotDamaged',
    facts: { snapshot, problem: 'ubd3.img: it was written to while it was handed over' },
  });
  expect(await readdir(root)).toEqual([]);
});

test('what a killed one left is removed, what its links lead to is not, and nobody who is at work is disturbed', async () => {
  const dead = spawn('true');
  await once(dead, 'spawn');
  const startTicks = readProcessStat(dead.pid ?? 0)?.startTicks;
  await once(dead, 'exit');
  const own = readProcessStat(process.pid)?.startTicks;
  const left = join(root, `pair.${dead.pid}-${startTicks}.0123abcd`);
  const atWork = `pair.${process.pid}-${own}.0123abcd`;
  for (const made of [left, join(root, atWork), join(root, 'manifests'), join(dir, 'led-to')])
    await mkdir(made, { recursive: true });
  await writeFile(join(dir, 'led-to', 'file'), 'x');
  await symlink(join(dir, 'led-to'), join(left, 'disks'));
  await withHandOver(root, source, {}, async () => {});
  expect((await readdir(root)).sort()).toEqual(['manifests', atWork]);
  expect(await readFile(join(dir, 'led-to', 'file'), 'utf8')).toBe('x');
});
