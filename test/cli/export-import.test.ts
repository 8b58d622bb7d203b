import { readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { importArchive } from '../../jobs/import-archive.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { allocatedBytes, makeImage, sha256sum, withOpen } from '../image/make-image.js';
import { flipByte, trashIn } from '../store/capture-of-tests.js';
import { emptyImage, sealSparse, soundIn, sparseImage } from '../store/sparse-snapshots.js';
import { cliScript } from '../support/cli.js';
import { tryTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';

/** Snapshots on their way from one store to another one, in a file or through a pipe. */

const scene = setScene({ guest: null });
let local: DirectoryStore;
let other: DirectoryStore;
const archive = () => scene.path('pair.tar.zst');
const pair = 'pair@20261121T031500Z';
const plain = 'debian@20261122T031500Z';

beforeAll(async () => {
  local = new DirectoryStore({ name: 'local', path: scene.store });
  other = new DirectoryStore({ name: 'other', path: scene.path('other') });
  await local.prepare(null);
  await other.prepare(null);
  const backing = scene.path('base.img');
  await makeImage(backing, 9_000_000, [{ offset: 1_000_000, length: 2_000_000 }]);
  const changes = { labels: { site: 'Città "1"' }, pinned: true };
  await sealSparse(local, pair, { ubd0: { ...sparseImage, backing }, ubd3: emptyImage }, changes);
  await sealSparse(local, plain, { ubd0: sparseImage });
  const stores = [local, other].map(({ name, path }) => [name, { type: 'directory', path }]);
  await scene.configure({}, { stores: Object.fromEntries(stores) });
  await shell(`${umlsnap} export ${pair} > ${archive()}`);
});
const emptyOther = async () => {
  for (const { snapshot } of await other.list()) await other.remove(snapshot);
  await rm(join(other.path, '.backing'), { recursive: true, force: true });
};
beforeEach(emptyOther);

const umlsnap = '"$NODE" "$CLI" -c "$CONFIG"';

async function shell(line: string): Promise<{ exitCode: number | null; output: string }> {
  const given = [`NODE=${process.execPath}`, `CLI=${cliScript}`, `CONFIG=${scene.config}`];
  return await tryTool('env', [...given, 'bash', '-o', 'pipefail', '-c', line]);
}

/** All of it, as it is in the first store: names, labels and pin, bytes, holes, and the times that UML compares. */
async function expectInOther(snapshot: string): Promise<void> {
  const [first, second] = [await soundIn(local, snapshot), await soundIn(other, snapshot)];
  const { checksum: _, disks, owner, ...facts } = first.manifest;
  // Whoever took it: it is of who has imported it.
  expect(second.manifest.owner?.id).not.toBe(owner?.id);
  expect(second.manifest).toMatchObject(facts);
  for (const [index, { storedBytes, ...disk }] of disks.entries()) {
    expect(second.manifest.disks[index]).toMatchObject(disk);
    const path = join(second.directory, disk.file);
    expect(await sha256sum(path)).toBe(disk.sha256);
    expect(await allocatedBytes(path)).toBeLessThanOrEqual(storedBytes + 1024 * 1024);
    if (!disk.backing) continue;
    const backing = join(other.path, '.backing', disk.backing.file);
    expect(await sha256sum(backing)).toBe(disk.backing.sha256);
    expect((await stat(backing)).mtime.toISOString()).toBe(disk.backing.mtime);
  }
}

async function expectNothingInOther(): Promise<void> {
  expect(await other.list()).toEqual([]);
  expect(await other.incomings()).toEqual([]);
}

const importInto = (store: string, ...options: string[]) =>
  scene.run('import', archive(), '--store', store, ...options);

test('a snapshot is the same after export and import, and the history knows of both; it does not go over one that is there', async () => {
  const imported = await importInto('other', '--json');
  expect(imported).toMatchObject({ exitCode: 0, stderr: '' });
  expect(imported.json).toMatchObject([{ kind: 'import', guest: 'pair', snapshot: pair, store: 'other' }]);
  await expectInOther(pair);
  const listed = (await scene.run('list', '--json')).json.filter(({ snapshot }) => snapshot === pair);
  expect(listed.map(({ store, state }) => `${store} ${state}`)).toEqual(['local sound', 'other sound']);
  await scene.withHistory(async (history) => {
    const rows = await history.snapshots({ guest: 'pair', store: 'other' });
    expect(rows).toMatchObject([{ snapshot: pair, pinned: true }]);
    const [job] = await history.jobs({ kind: 'import' });
    expect(job).toMatchObject({ guest: 'pair', status: 'success' });
  });

  const manifest = async () => await readFile(join((await soundIn(other, pair)).directory, 'manifest.json'));
  const before = await manifest();
  const again = await importInto('other', '--json');
  expect(again).toMatchObject({ exitCode: 1, json: [{ error: { code: 'SnapshotExists' } }] });
  expect(await manifest()).toEqual(before);
});

test.each(['zstd', 'gzip', 'none'])(
  'it goes through pipes that are slow at both ends, as %s',
  async (kind) => {
    const slowly = 'while IFS= read -r -n 1 -t 1 _ </dev/null; do :; done; sleep 0.3; cat';
    const line = `${umlsnap} export ${plain} --compression ${kind} | { ${slowly}; } | ${umlsnap} import --store other`;
    expect(await shell(line)).toMatchObject({ exitCode: 0 });
    await expectInOther(plain);
  },
);

test('it goes to a terminal never, to no one who went away, and into a store that is there', async () => {
  const line = `${process.execPath} ${cliScript} -c ${scene.config} export ${plain} 2> ${scene.path('said')}`;
  expect((await tryTool('script', ['-qec', line, '/dev/null'])).exitCode).toBe(2);
  expect(await readFile(scene.path('said'), 'utf8')).toContain('not to a terminal');
  const gone = await shell(`${umlsnap} export ${plain} | head -c 1000 > /dev/null; exit \${PIPESTATUS[0]}`);
  expect(gone.exitCode).toBe(1);
  expect(gone.output).toMatch(/Exporting .* failed|zstd failed/);
  expect((await importInto('nowhere')).exitCode).toBe(10);
  expect((await scene.run('import', scene.path('absent'))).stderr).toContain('no such file');
});

test('a damaged snapshot is not exported as if it were good', async () => {
  const { directory } = await sealSparse(other, 'broken@20261120T031500Z', { ubd0: sparseImage });
  await flipByte(join(directory, 'ubd0.img'), 8_500_000 / sparseImage.sizeBytes);
  const exported = await shell(`${umlsnap} export broken@20261120T031500Z > ${scene.path('broken.tar')}`);
  expect(exported.exitCode).toBe(1);
  expect(exported.output).toContain('does not match its checksum');
});

describe('an archive that is not whole', () => {
  /** The error that it came to; null when it was imported. */
  const importIt = (path: string): Promise<{ code: string } | null> =>
    withOpen(path, 'r', async (handle) => {
      const input = { from: 'file' as const, fd: handle.fd, sizeBytes: (await handle.stat()).size };
      const { signal } = new AbortController();
      const order = { input, label: path, store: other, stateDirectory: scene.state, signal };
      return (await scene.withHistory((history) => importArchive(order, history))).error;
    }).catch((error) => error);

  async function copyOf(kind: string): Promise<{ path: string; sizeBytes: number }> {
    const path = scene.path(`copy.${kind}`);
    await shell(`${umlsnap} export ${pair} --compression ${kind} > ${path}`);
    return { path, sizeBytes: (await stat(path)).size };
  }

  test.each(['zstd', 'none'])('leaves nothing, wherever it is cut off (%s)', async (kind) => {
    const { path, sizeBytes } = await copyOf(kind);
    // Shorter and shorter.
    for (const part of [0.999, 0.8, 0.5, 0.2, 0.001, 0]) {
      await truncate(path, Math.floor(sizeBytes * part));
      expect(await importIt(path), `${part}`).toMatchObject({ code: 'SnapshotDamaged' });
      await expectNothingInOther();
    }
  });

  test('leaves nothing, whichever byte of a file in it is another one', async () => {
    const { path, sizeBytes } = await copyOf('none');
    for (let n = 0; n < 10; n++) {
      // Beyond the last file there is only padding.
      const share = ((n + Math.random()) / 10) * (1 - 16_384 / sizeBytes);
      await flipByte(path, share);
      const error = await importIt(path);
      await flipByte(path, share);
      if (error === null) {
        // A byte that means nothing, in a header or in padding: then what was imported is what it should be.
        await expectInOther(pair);
        await emptyOther();
      } else expect(error).toMatchObject({ code: 'SnapshotDamaged' });
      await expectNothingInOther();
    }
  });

  test('is told of also where its damaged backing file is in the store already', async () => {
    const { path } = await copyOf('none');
    expect(await importIt(path)).toBeNull();
    await trashIn(other, pair);
    const backing = (await readdir(join(other.path, '.backing'))).find((name) => name.endsWith('.img')) ?? '';
    const bytes = await readFile(path);
    const at = bytes.indexOf(`backing/${backing}`);
    expect(at).toBeGreaterThan(0);
    await flipByte(path, (at + 1_500_000) / bytes.length);
    expect(await importIt(path)).toMatchObject({ code: 'SnapshotDamaged' });
    expect((await other.list()).filter(isSound)).toEqual([]);
  });
});
