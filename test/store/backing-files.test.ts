import { createHash } from 'node:crypto';
import { readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { withOpen } from '../image/make-image.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { capture, draftOf, storeBackingOf } from './capture-of-tests.js';
import { freshStore } from './fresh-store.js';

const fresh = freshStore();
let dir: string;
let store: DirectoryStore;
beforeEach(() => {
  ({ dir, store } = fresh);
});
const backings = async () => (await readdir(join(store.path, '.backing'))).sort();
const at = (name: string) => join(store.path, '.backing', name);

describe('a backing file', () => {
  let incoming: Incoming;
  /** One whose last change is long enough ago for its times to be trusted. */
  let source: string;
  let sources: string;
  const content = Buffer.concat([Buffer.alloc(300_000, 'root '), Buffer.alloc(8 * 1024 * 1024)]);
  const contentSha256 = createHash('sha256').update(content).digest('hex');

  async function makeSource(name: string): Promise<string> {
    const path = join(sources, name);
    await withOpen(path, 'w', async (file) => {
      await file.write(content.subarray(0, 300_000));
      await file.truncate(content.length);
    });
    // A nanosecond before the next second: rounded up, UML would refuse the pair.
    await utimes(path, 1_700_000_000.999, 1_700_000_000.999);
    return path;
  }

  beforeAll(async () => {
    sources = await makeTempDir();
    source = await makeSource('root.img');
    await makeSource('changed.img');
    await sleep(2100);
  });
  afterAll(() => removeTempDir(sources));
  beforeEach(async () => {
    incoming = await store.begin('debian', 'job-1');
  });

  const images = async () => (await backings()).filter((entry) => entry.endsWith('.img'));
  const storeIt = (path = source, into = incoming, signal?: AbortSignal) =>
    storeBackingOf(store, into, path, signal);
  const expectWhole = async (file: string) => expect((await readFile(at(file))).equals(content)).toBe(true);

  it('is stored by its content, with its holes and with its time to the second, and once for all guests', async () => {
    const stored = await storeIt();
    expect(stored).toEqual({
      sourcePath: source,
      file: `${contentSha256}.img`,
      sizeBytes: content.length,
      mtime: '2023-11-14T22:13:20.999Z',
      sha256: contentSha256,
      dataSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    await expectWhole(stored.file);
    const { blocks, mtimeMs, mode } = await stat(at(stored.file));
    expect(blocks * 512).toBeLessThan(1024 * 1024);
    expect(Math.floor(mtimeMs / 1000)).toBe(1_700_000_000);
    expect(mode & 0o777).toBe(0o600);
    expect(await readdir(incoming.directory)).toEqual([]);
    const twin = await makeSource('twin.img');
    expect(await storeIt(twin, await store.begin('other', 'job-2'))).toEqual({ ...stored, sourcePath: twin });
    expect(await images()).toEqual([stored.file]);
  });

  it('is stored once when two jobs bring it at the same time', async () => {
    const other = await store.begin('other', 'job-2');
    const [one, two] = await Promise.all([storeIt(), storeIt(source, other)]);
    expect(two).toEqual(one);
    await expectWhole(one.file);
  });

  it('is not read again as long as it is the same file with the same times', async () => {
    const atFirst = await readBytes();
    const first = await storeIt();
    const before = await readBytes();
    expect(before - atFirst).toBeGreaterThan(300_000);
    expect(await storeIt()).toEqual(first);
    expect((await readBytes()) - before).toBeLessThan(300_000);
  });

  it('is read again when it was written to a moment ago, since its times could stand still', async () => {
    await storeIt(await makeSource('new.img'));
    expect(await backings()).toEqual([`${contentSha256}.img`]);
  });

  it('that was changed is another one', async () => {
    const changed = join(sources, 'changed.img');
    const first = await storeIt(changed);
    await withOpen(changed, 'r+', (file) => file.write(Buffer.from('x'), 0, 1, 5));
    await utimes(changed, 1_700_000_000.999, 1_700_000_000.999);
    expect((await storeIt(changed)).sha256).not.toBe(first.sha256);
    expect(await images()).toHaveLength(2);
  });

  it('is stored anew when its copy is gone or cut short, or the note about it was damaged', async () => {
    const first = await storeIt();
    for (const harm of [
      () => rm(at(first.file)),
      () => writeFile(at(first.file), 'cut short'),
      () => writeFile(at(`${contentSha256}.json`), '{"sources": [{"dev":'),
    ]) {
      await harm();
      expect(await storeIt()).toEqual(first);
      await expectWhole(first.file);
    }
  });

  it('that somebody writes to while it is read is refused, and nothing of it stays', async () => {
    const large = join(dir, 'large.img');
    await writeFile(large, Buffer.alloc(32 * 1024 * 1024, 1));
    let stop = false;
    const writing = withOpen(large, 'r+', async (writer) => {
      for (let at = 0; !stop; at++) await writer.write(Buffer.from([at]), 0, 1, at);
    });
    await expect(storeIt(large)).rejects.toMatchObject({
      code: 'SourceChanged',
      facts: { guest: 'debian', device: 'ubd0' },
    });
    stop = true;
    await writing;
    expect(await backings()).toEqual([]);
    expect(await readdir(incoming.directory)).toEqual([]);
  });

  it('whose copying is aborted leaves nothing', async () => {
    const given = storeIt(source, incoming, AbortSignal.abort(new Error('told to')));
    await expect(given).rejects.toThrow('told to');
    expect(await backings()).toEqual([]);
    expect(await readdir(incoming.directory)).toEqual([]);
  });

  it('whose copy is gone, or cut short, keeps a snapshot from being sealed, and makes damaged one that was sealed, and is not handed out', async () => {
    const backing = await storeIt();
    const draft = draftOf(incoming, await capture(incoming, undefined, backing));
    for (const harm of [() => writeFile(at(backing.file), 'cut short'), () => rm(at(backing.file))]) {
      await harm();
      await expect(store.seal(incoming, draft)).rejects.toMatchObject({ code: 'CaptureDamaged' });
      expect(await store.list()).toEqual([]);
    }
    await storeIt();
    const manifest = await store.seal(incoming, draft);
    const stored = await store.read(manifest.snapshot);
    expect(stored).toMatchObject({ manifest });
    await rm(at(backing.file));
    expect(await store.list()).toMatchObject([{ damaged: expect.stringContaining('is missing') }]);
    await expect(store.openBacking(stored, backing.file)).rejects.toMatchObject({ code: 'SnapshotDamaged' });
  });
});

describe('a backing file that may be needed no more', () => {
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

  it('goes with its note when the last snapshot that needs it is gone, and not before', async () => {
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

  it('stays as long as any job of any guest has begun a snapshot that may need it', async () => {
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

  it('is never missing from a snapshot that is sealed while others remove what is unneeded', async () => {
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

  it('stays while a damaged snapshot, or a link in the place of one, may need it', async () => {
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

  it('is the only thing that goes: other names, links and directories are none of ours (fault 62)', async () => {
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
});

/** How much this process has read so far, its threads included. */
async function readBytes(): Promise<number> {
  return Number(/^rchar: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
}
