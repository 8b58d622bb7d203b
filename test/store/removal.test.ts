import { mkdir, open, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { tryFlock } from '../../src/image/linux-calls.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { startScript } from '../support/script-child.js';
import { waitFor } from '../support/wait-for.js';
import { storeSnapshot, timesOpen, trashIn } from './capture-of-tests.js';
import { freshStore } from './fresh-store.js';

const fresh = freshStore();
let dir: string;
let store: DirectoryStore;
const name = 'debian@20261121T031500Z';
const trashed = `${name}.0123abcd`;
const gone = { code: 'NoSuchSnapshot', facts: { snapshot: name } };

beforeEach(async () => {
  ({ dir, store } = fresh);
  await storeSnapshot(store, 'debian', '20261121T031500Z');
});

describe('fault 62: a removal', () => {
  it('is refused where somebody has put something beside the disks, and names it', async () => {
    const notes = join(store.path, 'debian/20261121T031500Z/notes.txt');
    await writeFile(notes, 'why we keep it');
    await expect(trashIn(store, name)).rejects.toMatchObject({ code: 'NotOurs', facts: { path: notes } });
    expect(await readFile(notes, 'utf8')).toBe('why we keep it');
    expect(await store.list()).toMatchObject([{ snapshot: name, manifest: {} }]);
    await rm(notes);
    // What a pin that was cut short has left is ours.
    await writeFile(join(store.path, 'debian/20261121T031500Z/manifest.json.0123abcd'), '{');
    await store.remove(name);
    expect(await readdir(join(store.path, 'debian'))).toEqual([]);
  });

  it('deletes in the trash only what is of our names and of our kind, and follows no link', async () => {
    const trash = join(store.path, '.trash');
    const outside = join(dir, 'outside');
    for (const path of [trash, outside]) await mkdir(path);
    await writeFile(join(outside, 'thesis'), 'years of work');
    await symlink(outside, join(trash, trashed));
    await writeFile(join(trash, 'debian@20261121T041500Z.0123abcd'), 'a file in the place of a snapshot');
    for (const made of [`${'a'.repeat(64)}.img.0123abcd`, 'holiday pictures']) await mkdir(join(trash, made));
    const before = (await readdir(trash)).sort();
    await store.remove(name);
    expect((await readdir(trash)).sort()).toEqual(before);
    expect(await readdir(outside)).toEqual(['thesis']);
  });

  it('deletes nothing behind a link in the place of the trash, and moves nothing there', async () => {
    const elsewhere = join(dir, 'elsewhere');
    await mkdir(join(elsewhere, trashed), { recursive: true });
    await symlink(elsewhere, join(store.path, '.trash'));
    await store.emptyTrash();
    await expect(store.remove(name)).rejects.toMatchObject({ code: 'StoreUnusable' });
    expect(await readdir(elsewhere)).toEqual([trashed]);
    expect(await store.list()).toMatchObject([{ snapshot: name, manifest: {} }]);
  });

  it('never touches a link in the place of a guest or of a snapshot', async () => {
    const moved = join(dir, 'moved');
    await rename(join(store.path, 'debian'), moved);
    await symlink(moved, join(store.path, 'debian'));
    await expect(store.remove(name)).rejects.toMatchObject(gone);
    expect(await readdir(moved)).toEqual(['20261121T031500Z']);
    await rm(join(store.path, 'debian'));
    await mkdir(join(store.path, 'debian'));
    await symlink(join(moved, '20261121T031500Z'), join(store.path, 'debian', '20261121T031500Z'));
    await expect(store.remove(name)).rejects.toMatchObject(gone);
    expect(await store.list()).toEqual([]);
    expect((await readdir(join(moved, '20261121T031500Z'))).sort()).toEqual(['manifest.json', 'ubd0.img']);
  });
});

describe('fault 61: a snapshot that is being read', () => {
  it('is not removed, by this process or another, until the reader is done or dead', async () => {
    const stored = await store.read(name);
    await store.whileReading(stored, async () => {
      // Two may read at once.
      await store.whileReading(stored, async () => undefined);
      await expect(trashIn(store, name)).rejects.toMatchObject({ code: 'Busy' });
    });
    const reader = startScript(new URL('./reading-child.ts', import.meta.url), [store.path, name]);
    await reader.waitForLine('reading');
    await expect(trashIn(store, name)).rejects.toMatchObject({ code: 'Busy' });
    expect(await store.list()).toMatchObject([{ snapshot: name, manifest: {} }]);
    reader.kill('SIGKILL');
    await reader.exited;
    await waitFor('the lock to be gone with its holder', async () => {
      await trashIn(store, name).catch((error) => expect(error).toMatchObject({ code: 'Busy' }));
      return (await store.list()).length === 0;
    });
  });

  it('that was removed between the look and the reading is told to be gone, not damaged', async () => {
    const stored = await store.read(name);
    await store.remove(name);
    await expect(store.whileReading(stored, async () => undefined)).rejects.toMatchObject(gone);
  });

  it('that is removed while the reader waits for the lock is told to be gone, and not read in the trash', async () => {
    const stored = await store.read(name);
    const remover = await open(stored.directory);
    expect(tryFlock(remover.fd, 'exclusive')).toBe(true);
    const reading = store.whileReading(stored, async () => 'read');
    await waitFor('the reader to have it open', async () => (await timesOpen(stored.directory)) === 2);
    await rename(stored.directory, join(dir, 'trashed'));
    await remover.close();
    await expect(reading).rejects.toMatchObject(gone);
  });
});
