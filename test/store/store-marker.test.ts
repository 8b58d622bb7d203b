import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { withTempDir } from '../support/temp-dir.js';
import { storeSnapshot } from './capture-of-tests.js';

const storeAt = (path: string) => new DirectoryStore({ name: 'local', path });
const refusal = (path: string, code: string, problem: RegExp) => ({
  code,
  facts: { store: 'local', path, problem: expect.stringMatching(problem) },
});

describe('a directory', () => {
  it('becomes a store when it is absent or empty, once, and keeps its id', async () => {
    await withTempDir(async (dir) => {
      const store = storeAt(join(dir, 'store'));
      const first = await store.prepare(null);
      expect(first.created).toBe(true);
      expect(await store.prepare(null)).toEqual({ id: first.id, created: false });
      expect(await store.prepare(first.id)).toEqual({ id: first.id, created: false });
      await mkdir(join(dir, 'empty'));
      expect((await storeAt(join(dir, 'empty')).prepare(null)).created).toBe(true);
    });
  });

  it('gets one id when several processes make it a store at once', async () => {
    await withTempDir(async (dir) => {
      const path = join(dir, 'store');
      const prepared = await Promise.all([1, 2, 3, 4, 5, 6].map(() => storeAt(path).prepare(null)));
      expect(new Set(prepared.map(({ id }) => id)).size).toBe(1);
      expect(prepared.filter(({ created }) => created).length).toBe(1);
      expect(await readdir(path)).toEqual(['.umlsnap-store']);
    });
  });

  it('that holds something else is left as it is', async () => {
    await withTempDir(async (dir) => {
      await writeFile(join(dir, 'thesis.tex'), 'years of work');
      await expect(storeAt(dir).prepare(null)).rejects.toMatchObject(
        refusal(dir, 'StoreUnusable', /not empty \(thesis\.tex/),
      );
      expect(await readdir(dir)).toEqual(['thesis.tex']);
    });
  });

  it('is not taken for a store that is known but not mounted there', async () => {
    await withTempDir(async (dir) => {
      const mountPoint = join(dir, 'mnt');
      const absent = storeAt(mountPoint).prepare('9d6a4a4e-7a53-4a62-8f0a-0f6f1cf7a001');
      await expect(absent).rejects.toMatchObject(refusal(mountPoint, 'StoreNotMounted', /no such directory/));
      await mkdir(mountPoint);
      const empty = storeAt(mountPoint).prepare('9d6a4a4e-7a53-4a62-8f0a-0f6f1cf7a001');
      await expect(empty).rejects.toMatchObject(refusal(mountPoint, 'StoreNotMounted', /marker/));
      expect(await readdir(mountPoint)).toEqual([]);
      await storeAt(mountPoint).prepare(null);
      const other = storeAt(mountPoint).prepare('9d6a4a4e-7a53-4a62-8f0a-0f6f1cf7a001');
      await expect(other).rejects.toMatchObject(refusal(mountPoint, 'StoreNotMounted', /another store/));
    });
  });

  it('below our own state is made with the directories above it, and is none before', async () => {
    await withTempDir(async (dir) => {
      const path = join(dir, 'state', 'staging', 'offsite');
      const staging = new DirectoryStore({ name: 'offsite/staging', path, makesParents: true });
      expect(await staging.isMounted(null)).toBe(false);
      expect(await readdir(dir)).toEqual([]);
      expect((await staging.prepare(null)).created).toBe(true);
      expect((await stat(join(dir, 'state', 'staging'))).mode & 0o777).toBe(0o700);
      await symlink(join(dir, 'state'), join(dir, 'link'));
      const linked = join(dir, 'link', 'elsewhere', 'offsite');
      const behind = new DirectoryStore({ name: 'offsite/staging', path: linked, makesParents: true });
      await expect(behind.prepare(null)).rejects.toMatchObject({ code: 'StoreUnusable' });
    });
  });

  it('behind a link, a file in its place, a missing parent and a damaged marker are told apart', async () => {
    await withTempDir(async (dir) => {
      await mkdir(join(dir, 'real'));
      await symlink(join(dir, 'real'), join(dir, 'link'));
      await writeFile(join(dir, 'file'), '');
      await mkdir(join(dir, 'damaged'));
      await writeFile(join(dir, 'damaged', '.umlsnap-store'), '{"format":');
      const cases: [string, RegExp][] = [
        ['link', /symbolic link: give .*\/real/],
        ['link/store', /symbolic link/],
        ['file', /not a directory/],
        ['file/store', /ENOTDIR|not a directory/],
        ['absent/store', /parent directory/],
        ['damaged', /marker file is damaged/],
      ];
      for (const [name, problem] of cases) {
        const path = join(dir, name);
        await expect(storeAt(path).prepare(null)).rejects.toMatchObject(
          refusal(path, 'StoreUnusable', problem),
        );
      }
      expect(await readdir(join(dir, 'real'))).toEqual([]);
    });
  });
});

const noLoop = whyNoLoopMount('ext4');
if (noLoop !== undefined) console.warn(`SKIPPED: a store that is a mounted filesystem: ${noLoop}`);

describe.skipIf(noLoop !== undefined)('a store that is a mounted filesystem', () => {
  it('is made on a fresh one, in spite of its lost+found', async () => {
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (mountPoint) => {
      expect((await storeAt(mountPoint).prepare(null)).created).toBe(true);
    });
  });

  it('is not filled when it was unmounted and its empty mount point is there', async () => {
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (mountPoint) => {
      const { id } = await storeAt(mountPoint).prepare(null);
      await runTool('umount', [mountPoint]);
      await expect(storeAt(mountPoint).prepare(id)).rejects.toMatchObject(
        refusal(mountPoint, 'StoreNotMounted', /marker/),
      );
      expect(await readdir(mountPoint)).toEqual([]);
      // So that its own removal finds it as it made it.
      await runTool('mount', ['-o', 'loop', join(mountPoint, '../filesystem.img'), mountPoint]);
    });
  });

  it('says that it is read-only, and its snapshots can still be read', async () => {
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (mountPoint) => {
      const store = storeAt(mountPoint);
      const { id } = await store.prepare(null);
      await storeSnapshot(store, 'debian', '20261121T031500Z');
      await runTool('mount', ['-o', 'remount,ro', mountPoint]);
      await expect(store.prepare(id)).rejects.toMatchObject(
        refusal(mountPoint, 'StoreUnusable', /read-only file system/),
      );
      await expect(store.begin('debian', 'job-2')).rejects.toMatchObject(
        refusal(mountPoint, 'StoreUnusable', /read-only file system/),
      );
      await expect(store.moveToTrash('debian@latest')).rejects.toMatchObject({ code: 'StoreUnusable' });
      expect(await store.list()).toMatchObject([{ snapshot: 'debian@20261121T031500Z', manifest: {} }]);
    });
  });
});
