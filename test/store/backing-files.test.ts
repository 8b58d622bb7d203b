import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import type { SealDraft } from '../../src/store/seal.js';
import { withOpen } from '../image/make-image.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { capture, draftOf, storeBackingOf } from './capture-of-tests.js';
import { freshStore } from './fresh-store.js';

const fresh = freshStore();
let store: DirectoryStore;
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
  store = fresh.store;
  incoming = await store.begin('debian', 'job-1');
});

const backings = async () => (await readdir(join(store.path, '.backing'))).sort();
const images = async () => (await backings()).filter((entry) => entry.endsWith('.img'));
const storeIt = (path = source, into = incoming, signal?: AbortSignal) =>
  storeBackingOf(store, into, path, signal);
const copyOf = (file: string) => join(store.path, '.backing', file);
const expectWhole = async (file: string) => expect((await readFile(copyOf(file))).equals(content)).toBe(true);

it('a backing file is stored by its content, with its holes and with its time to the second, and once for all guests', async () => {
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
  const { blocks, mtimeMs, mode } = await stat(copyOf(stored.file));
  expect(blocks * 512).toBeLessThan(1024 * 1024);
  expect(Math.floor(mtimeMs / 1000)).toBe(1_700_000_000);
  expect(mode & 0o777).toBe(0o600);
  expect(await readdir(incoming.directory)).toEqual([]);
  const twin = await makeSource('twin.img');
  expect(await storeIt(twin, await store.begin('other', 'job-2'))).toEqual({ ...stored, sourcePath: twin });
  expect(await images()).toEqual([stored.file]);
});

it('a backing file is stored once when two jobs bring it at the same time', async () => {
  const other = await store.begin('other', 'job-2');
  const [one, two] = await Promise.all([storeIt(), storeIt(source, other)]);
  expect(two).toEqual(one);
  await expectWhole(one.file);
});

it('a backing file is not read again as long as it is the same file with the same times', async () => {
  const atFirst = await readBytes();
  const first = await storeIt();
  const before = await readBytes();
  expect(before - atFirst).toBeGreaterThan(300_000);
  expect(await storeIt()).toEqual(first);
  expect((await readBytes()) - before).toBeLessThan(300_000);
});

it('a backing file is read again when it was written to a moment ago, since its times could stand still', async () => {
  await storeIt(await makeSource('new.img'));
  expect(await backings()).toEqual([`${contentSha256}.img`]);
});

it('a backing file that was changed is another one', async () => {
  const changed = join(sources, 'changed.img');
  const first = await storeIt(changed);
  await withOpen(changed, 'r+', (file) => file.write(Buffer.from('x'), 0, 1, 5));
  await utimes(changed, 1_700_000_000.999, 1_700_000_000.999);
  expect((await storeIt(changed)).sha256).not.toBe(first.sha256);
  expect(await images()).toHaveLength(2);
});

it('a backing file is stored anew when its copy is gone or cut short, or the note about it was damaged', async () => {
  const first = await storeIt();
  for (const harm of [
    () => rm(copyOf(first.file)),
    () => writeFile(copyOf(first.file), 'cut short'),
    () => writeFile(copyOf(`${contentSha256}.json`), '{"sources": [{"dev":'),
  ]) {
    await harm();
    expect(await storeIt()).toEqual(first);
    await expectWhole(first.file);
  }
});

it('a backing file that somebody writes to while it is read is refused, and nothing of it stays', async () => {
  const large = join(fresh.dir, 'large.img');
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

it('a backing file whose copying is aborted leaves nothing', async () => {
  const given = storeIt(source, incoming, AbortSignal.abort(new Error('told to')));
  await expect(given).rejects.toThrow('told to');
  expect(await backings()).toEqual([]);
  expect(await readdir(incoming.directory)).toEqual([]);
});

describe('a snapshot without its backing file', () => {
  let name: string;
  let draft: SealDraft;
  beforeEach(async () => {
    const backing = await storeIt();
    name = backing.file;
    draft = draftOf(incoming, await capture(incoming, undefined, backing));
  });

  it('is damaged, and refuses to hand it out', async () => {
    const manifest = await store.seal(incoming, draft);
    const stored = await store.read('debian@latest');
    expect(stored).toMatchObject({ manifest });
    await rm(copyOf(name));
    expect(await store.list()).toMatchObject([{ damaged: expect.stringContaining('is missing') }]);
    await expect(store.openBacking(stored, name)).rejects.toMatchObject({ code: 'SnapshotDamaged' });
  });

  it('is not sealed', async () => {
    await rm(copyOf(name));
    await expect(store.seal(incoming, draft)).rejects.toMatchObject({ code: 'CaptureDamaged' });
    expect(await store.list()).toEqual([]);
  });
});

/** How much this process has read so far, its threads included. */
async function readBytes(): Promise<number> {
  return Number(/^rchar: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
}
