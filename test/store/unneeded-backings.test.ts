import { readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { capture, draftOf, storeBackingOf } from './capture-of-tests.js';
import { freshStore } from './fresh-store.js';

const fresh = freshStore();
let dir: string;
let store: DirectoryStore;

beforeEach(() => {
  ({ dir, store } = fresh);
});

const at = (name: string) => join(store.path, '.backing', name);
const backings = async () => (await readdir(join(store.path, '.backing'))).sort();
const sweep = (dryRun = false, without: string[] = []) =>
  store.sweepBackings({ dryRun, without: new Set(without) });

/** A snapshot on a backing file of this content, about to be sealed. */
async function cowDraft(guest: string, text: string, directory = '20261121T031500Z') {
  const incoming = await store.begin(guest, `job-${directory}`);
  const path = join(dir, `${text}.img`);
  await writeFile(path, text.repeat(1000));
  const backing = await storeBackingOf(store, incoming, path);
  const draft = draftOf(incoming, await capture(incoming, undefined, backing), directory);
  return { incoming, backing, draft };
}

async function cowSnapshot(...what: Parameters<typeof cowDraft>) {
  const { incoming, backing, draft } = await cowDraft(...what);
  await writeFile(at(`${backing.sha256}.json`), '{"sources":[]}');
  await store.seal(incoming, draft);
  return backing;
}

it('a backing file goes with its note when the last snapshot that needs it is gone, and not before', async () => {
  const shared = await cowSnapshot('debian', 'shared');
  await cowSnapshot('other', 'shared');
  const own = await cowSnapshot('debian', 'own', '20261121T041500Z');
  expect(await sweep()).toEqual({ removed: [], held: null });
  await store.remove('debian@20261121T041500Z');
  expect(await sweep(true)).toEqual({ removed: [own.file], held: null });
  expect(await backings()).toHaveLength(4);
  expect(await sweep()).toEqual({ removed: [own.file], held: null });
  await store.remove('debian@20261121T031500Z');
  expect(await sweep()).toEqual({ removed: [], held: null });
  expect(await backings()).toEqual([shared.file, `${shared.sha256}.json`].sort());
  expect(await sweep(true, ['other@20261121T031500Z'])).toEqual({ removed: [shared.file], held: null });
  await store.remove('other@20261121T031500Z');
  expect(await sweep()).toEqual({ removed: [shared.file], held: null });
  expect(await backings()).toEqual([]);
  expect(await readdir(join(store.path, '.trash'))).toEqual([]);
});

it('a backing file stays as long as any job of any guest has begun a snapshot that may need it', async () => {
  const { incoming, draft } = await cowDraft('debian', 'soon');
  expect(await sweep()).toEqual({
    removed: [],
    held: expect.stringContaining('job-20261121T031500Z of guest debian'),
  });
  // It seals later, and finds what it has stored.
  await store.seal(incoming, draft);
  expect(await sweep()).toEqual({ removed: [], held: null });
  expect(await store.list()).toMatchObject([{ manifest: {} }]);
});

it('a backing file is never missing from a snapshot that is sealed while others remove what is unneeded', async () => {
  let stop = false;
  let removed = 0;
  const sweeping = (async () => {
    while (!stop) removed += (await sweep()).removed.length;
  })();
  for (let round = 0; round < 8; round++) {
    const directory = `20261121T0315${String(round).padStart(2, '0')}Z`;
    await cowSnapshot('debian', 'again', directory);
    expect(await store.list()).toMatchObject([{ manifest: {} }]);
    await store.remove(`debian@${directory}`);
    if (round % 2) await sweep();
  }
  stop = true;
  await sweeping;
  // They did come between: otherwise this has proved nothing.
  expect(removed).toBeGreaterThan(0);
});

it('a backing file stays while a damaged snapshot, or a link in the place of one, may need it', async () => {
  await cowSnapshot('debian', 'held');
  await cowSnapshot('other', 'held');
  const manifest = join(store.path, 'other/20261121T031500Z/manifest.json');
  const text = await readFile(manifest, 'utf8');
  await store.remove('debian@20261121T031500Z');
  await writeFile(manifest, text.slice(0, 100));
  expect(await sweep()).toEqual({ removed: [], held: expect.stringContaining('other@') });
  await writeFile(manifest, text);
  await rename(join(store.path, 'other'), join(dir, 'elsewhere'));
  await symlink(join(dir, 'elsewhere'), join(store.path, 'other'));
  expect(await sweep()).toEqual({ removed: [], held: expect.stringMatching(/other is a link/) });
  await rm(join(store.path, 'other'));
  expect((await sweep()).removed).toHaveLength(1);
});

it('a backing file is the only thing that goes: other names, links and directories are none of ours (fault 62)', async () => {
  const { file, sha256 } = await cowSnapshot('debian', 'mine');
  await store.remove('debian@20261121T031500Z');
  const thesis = join(dir, 'thesis');
  await writeFile(thesis, 'years of work');
  await writeFile(at('README'), 'of the admin');
  await symlink(thesis, at(`${'a'.repeat(64)}.img`));
  await writeFile(at(`.${sha256}.0123abcd`), 'a note that was cut short');
  expect(await sweep()).toEqual({ removed: [file], held: null });
  expect(await backings()).toEqual(['README', `${'a'.repeat(64)}.img`]);
  expect(await readFile(thesis, 'utf8')).toBe('years of work');
  await rename(join(store.path, '.backing'), join(dir, 'moved'));
  await writeFile(join(dir, 'moved', `${'b'.repeat(64)}.img`), 'not ours to see');
  await symlink(join(dir, 'moved'), join(store.path, '.backing'));
  expect(await sweep()).toEqual({ removed: [], held: null });
  expect(await readdir(join(dir, 'moved'))).toContain(`${'b'.repeat(64)}.img`);
});
