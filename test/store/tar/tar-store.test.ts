import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterAll, describe, expect, test } from 'vitest';
import { recordOf } from '../../../src/snapshot/describe-snapshot.js';
import { formatManifest, type Manifest, sealManifest } from '../../../src/store/manifest.js';
import { storedFrame } from '../../../src/store/tar/stored-frame.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { mountLoopFilesystem, whyNoLoopMount } from '../../support/loop-filesystem.js';
import { runTool } from '../../support/run-tool.js';
import { soundIn } from '../sparse-snapshots.js';
import {
  dropArchiveScene,
  restoreFailure,
  small,
  tarStoreIn,
  verdictOf,
  withArchiveScene,
} from './archive-scene.js';

afterAll(dropArchiveScene);

/** As on a host without zstd. */
async function withoutPrograms<T>(use: () => Promise<T>): Promise<T> {
  const path = process.env.PATH;
  process.env.PATH = '/nonexistent';
  try {
    return await use();
  } finally {
    process.env.PATH = path;
  }
}

/** The beginning of an archive: what a list reads of it. */
async function headOf(manifest: Manifest): Promise<Buffer> {
  const archive = pack();
  archive.entry({ name: 'manifest.json' }, formatManifest(manifest));
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
  return storedFrame(Buffer.concat(chunks));
}

describe('a store of archives', () => {
  test('lists thousands of them by their heads alone, without a program for any of them', async () => {
    await withArchiveScene(async (scene) => {
      const store = await tarStoreIn(scene.dir, 'zstd');
      const { checksum: _, ...facts } = (await scene.content(small)).manifest;
      const count = 2000;
      const nameOf = (number: number) => `20260101T${String(number).padStart(6, '0')}Z`;
      await mkdir(join(store.path, 'many'));
      for (let number = 0; number < count; number++) {
        const manifest = sealManifest({ ...facts, guest: 'many', snapshot: `many@${nameOf(number)}` });
        await writeFile(join(store.path, 'many', `${nameOf(number)}.tar.zst`), await headOf(manifest));
      }
      const listed = await withoutPrograms(() => store.list('many'));
      expect(listed.length).toBe(count);
      expect(listed.every((stored) => 'manifest' in stored)).toBe(true);
      expect(listed[0]?.snapshot).toBe(`many@${nameOf(count - 1)}`);
    });
  });

  test('writes gzip where zstd is missing, and without zstd says that, and not that a snapshot is damaged', async () => {
    await withArchiveScene(async (scene) => {
      const store = await tarStoreIn(scene.dir, 'zstd');
      await withoutPrograms(async () => store.receive(await scene.content(small), {}));
      expect(await readdir(join(store.path, 'small'))).toEqual(['20261121T031500Z.tar.gz']);
      await withoutPrograms(async () => expect(await verdictOf(store, small)).toMatchObject({ ok: true }));
      const second = new TarStore({ name: 'second', path: join(scene.dir, 'second'), compression: 'zstd' });
      await second.prepare(null);
      await second.receive(await scene.content(small), {});
      await withoutPrograms(async () => {
        const stored = await soundIn(second, small);
        await expect(second.openFile(stored, 'ubd0.img')).rejects.toMatchObject({
          code: 'StoreUnusable',
          facts: { problem: expect.stringMatching(/not installed/) },
        });
      });
    });
  });

  test('leaves alone what is none of its own, and lists as damaged what only has the name of an archive', async () => {
    await withArchiveScene(async (scene) => {
      const store = await tarStoreIn(scene.dir, 'zstd');
      await store.receive(await scene.content(small), {});
      const directory = join(store.path, 'small');
      await writeFile(join(directory, 'notes.txt'), 'mine');
      await mkdir(join(directory, '20261122T031500Z.tar.zst'));
      await symlink('/etc/passwd', join(directory, '20261123T031500Z.tar.zst'));
      await writeFile(join(directory, '20261124T031500Z.tar.zst'), 'no archive');
      await writeFile(join(directory, '20261125T031500Z.tar'), '');
      const { directory: path } = await store.read(small);
      await runTool('cp', [path, join(directory, '20261126T031500Z.tar.zst')]);
      expect((await store.list()).map((one) => [one.snapshot, 'manifest' in one])).toEqual([
        ['small@20261126T031500Z', false],
        ['small@20261125T031500Z', false],
        ['small@20261124T031500Z', false],
        [small, true],
      ]);
      expect(await verdictOf(store, 'small@20261126T031500Z')).toMatchObject({
        problem: 'its manifest belongs to small@20261121T031500Z',
      });
      expect((await store.read('small@latest')).snapshot).toBe(small);
      await store.emptyTrash();
      expect((await readdir(directory)).length).toBe(7);
    });
  });

  test('pins without writing the archive anew, and tells the history the same as whoever reads', async () => {
    await withArchiveScene(async (scene) => {
      const store = await tarStoreIn(scene.dir, 'zstd');
      await store.receive(await scene.content(small), {});
      const { directory: path } = await store.read(small);
      const before = await runTool('sha256sum', [path]);
      for (const pinned of [true, false, false, true]) {
        const manifest = await store.setPinned(small, pinned);
        const stored = await soundIn(store, small);
        expect(stored.manifest).toEqual(manifest);
        expect(recordOf(store.name, manifest)).toMatchObject({
          pinned,
          manifestSha256: stored.manifestSha256,
        });
        expect(await verdictOf(store, small)).toMatchObject({ ok: true });
      }
      expect(await runTool('sha256sum', [path])).toEqual(before);
      // A snapshot that gets the name later has its own word.
      await store.moveToTrash(small);
      await writeFile(join(store.path, 'small', '20261121T031500Z.pinned'), '');
      await store.receive(await scene.content(small), {});
      expect((await soundIn(store, small)).manifest.pinned).toBe(false);
      expect(await readdir(join(store.path, 'small'))).toEqual(['20261121T031500Z.tar.zst']);
    });
  });

  test('removes what a killed one has left, and never lists it', async () => {
    await withArchiveScene(async (scene) => {
      const store = await tarStoreIn(scene.dir, 'zstd');
      await mkdir(join(store.path, 'small'));
      await writeFile(join(store.path, 'small', '.incoming-0123456789abcdef'), 'half an archive');
      expect(await store.list()).toEqual([]);
      await store.receive(await scene.content(small), {});
      expect(await readdir(join(store.path, 'small'))).toEqual(['20261121T031500Z.tar.zst']);
    });
  });
});

const noLoop = whyNoLoopMount('ext4');
if (noLoop !== undefined) console.warn(`SKIPPED: a read-only store of archives: ${noLoop}`);

describe.skipIf(noLoop !== undefined)('a store of archives on a read-only filesystem', () => {
  test('is read, verified and restored from, and says of every write that it can not', async () => {
    await withArchiveScene(async (scene) => {
      const filesystem = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 16 });
      try {
        const store = new TarStore({ name: 'archives', path: filesystem.mountPoint, compression: 'zstd' });
        const { id } = await store.prepare(null);
        await store.receive(await scene.content(small), {});
        await runTool('mount', ['-o', 'remount,ro', filesystem.mountPoint]);
        expect(await store.isMounted(id)).toBe(true);
        expect(await verdictOf(store, small)).toMatchObject({ ok: true });
        expect(await restoreFailure(store, small, join(scene.dir, 'to'))).toBeNull();
        const pair = await scene.content('pair@20261121T031500Z');
        for (const write of [
          () => store.prepare(id),
          () => store.receive(pair, {}),
          () => store.setPinned(small, true),
          () => store.moveToTrash(small),
        ]) {
          await expect(write()).rejects.toMatchObject({ code: 'StoreUnusable' });
        }
        expect((await soundIn(store, small)).manifest.pinned).toBe(false);
      } finally {
        await filesystem.remove();
      }
    });
  });
});
