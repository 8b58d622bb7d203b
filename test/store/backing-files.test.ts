import { createHash } from 'node:crypto';
import { open, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { withOpen } from '../image/make-image.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { bytesOf, capture, draftOf } from './capture-of-tests.js';
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

const backingEntries = async () => (await readdir(join(store.path, '.backing'))).sort();

async function storeIt(path = source, into = incoming, signal?: AbortSignal) {
  return withOpen(path, 'r', (file) =>
    store.storeBacking(into, { device: 'ubd0', path, fd: file.fd }, signal),
  );
}

describe('a backing file', () => {
  it('is stored by its content, with its holes and with its time to the second', async () => {
    const stored = await storeIt();
    expect(stored).toEqual({
      sourcePath: source,
      file: `${contentSha256}.img`,
      sizeBytes: content.length,
      mtime: '2023-11-14T22:13:20.999Z',
      sha256: contentSha256,
      dataSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    const copy = join(store.path, '.backing', stored.file);
    expect((await readFile(copy)).equals(content)).toBe(true);
    expect((await stat(copy)).blocks * 512).toBeLessThan(1024 * 1024);
    expect(Math.floor((await stat(copy)).mtimeMs / 1000)).toBe(1_700_000_000);
    expect((await stat(copy)).mode & 0o777).toBe(0o600);
    expect(await readdir(incoming.directory)).toEqual([]);
  });

  it('is stored once for all guests that stand on the same content', async () => {
    const twin = await makeSource('twin.img');
    const [one, two] = [await storeIt(), await storeIt(twin, await store.begin('other', 'job-2'))];
    expect(two.file).toBe(one.file);
    expect(two.sourcePath).toBe(twin);
    expect((await backingEntries()).filter((entry) => entry.endsWith('.img'))).toEqual([one.file]);
  });

  it('is stored once when two jobs bring it at the same time', async () => {
    const other = await store.begin('other', 'job-2');
    const [one, two] = await Promise.all([storeIt(), storeIt(source, other)]);
    expect(two).toEqual(one);
    expect((await readFile(join(store.path, '.backing', one.file))).equals(content)).toBe(true);
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
    expect(await backingEntries()).toEqual([`${contentSha256}.img`]);
  });

  it('that was changed is another one', async () => {
    const changed = join(sources, 'changed.img');
    const first = await storeIt(changed);
    await withOpen(changed, 'r+', (file) => file.write(Buffer.from('x'), 0, 1, 5));
    await utimes(changed, 1_700_000_000.999, 1_700_000_000.999);
    const second = await storeIt(changed);
    expect(second.sha256).not.toBe(first.sha256);
    expect((await backingEntries()).filter((entry) => entry.endsWith('.img')).length).toBe(2);
  });

  it('is stored anew when its copy is gone or cut short', async () => {
    const { file } = await storeIt();
    await rm(join(store.path, '.backing', file));
    await storeIt();
    expect((await readFile(join(store.path, '.backing', file))).equals(content)).toBe(true);
    await writeFile(join(store.path, '.backing', file), 'cut short');
    await storeIt();
    expect((await readFile(join(store.path, '.backing', file))).equals(content)).toBe(true);
  });

  it('is stored anew when the note about it was damaged', async () => {
    const first = await storeIt();
    await writeFile(join(store.path, '.backing', `${contentSha256}.json`), '{"sources": [{"dev":');
    expect(await storeIt()).toEqual(first);
  });

  it('that somebody writes to while it is read is refused, and nothing of it stays', async () => {
    const large = join(fresh.dir, 'large.img');
    await writeFile(large, Buffer.alloc(32 * 1024 * 1024, 1));
    const writer = await open(large, 'r+');
    let stop = false;
    const writing = (async () => {
      for (let at = 0; !stop; at++) await writer.write(Buffer.from([at]), 0, 1, at);
    })();
    await expect(storeIt(large)).rejects.toMatchObject({
      code: 'SourceChanged',
      facts: { guest: 'debian', device: 'ubd0' },
    });
    stop = true;
    await writing;
    await writer.close();
    expect(await backingEntries()).toEqual([]);
    expect(await readdir(incoming.directory)).toEqual([]);
  });

  it('whose copying is aborted leaves nothing', async () => {
    await expect(storeIt(source, incoming, AbortSignal.abort(new Error('told to')))).rejects.toThrow(
      'told to',
    );
    expect(await backingEntries()).toEqual([]);
    expect(await readdir(incoming.directory)).toEqual([]);
  });
});

describe('a snapshot that stands on a backing file', () => {
  async function sealWithBacking() {
    const backing = await storeIt();
    const disks = (await capture(incoming)).map((disk) => ({ ...disk, kind: 'cow' as const, backing }));
    return store.seal(incoming, draftOf(incoming, disks));
  }

  it('is listed with it, hands it out, and is damaged without it', async () => {
    const manifest = await sealWithBacking();
    const stored = await store.read('debian@latest');
    expect(stored).toMatchObject({ manifest });
    const name = manifest.disks[0]?.backing?.file ?? '';
    expect((await bytesOf(await store.openBacking(stored, name))).equals(content)).toBe(true);
    await rm(join(store.path, '.backing', name));
    expect(await store.list()).toMatchObject([{ damaged: expect.stringContaining('is missing') }]);
    await expect(store.openBacking(stored, name)).rejects.toMatchObject({ code: 'SnapshotDamaged' });
  });

  it('is not sealed when its backing file is not in the store', async () => {
    const backing = await storeIt();
    await rm(join(store.path, '.backing', backing.file));
    const disks = (await capture(incoming)).map((disk) => ({ ...disk, kind: 'cow' as const, backing }));
    await expect(store.seal(incoming, draftOf(incoming, disks))).rejects.toMatchObject({
      code: 'CaptureDamaged',
    });
    expect(await store.list()).toEqual([]);
  });
});

/** How much this process has read so far, its threads included. */
async function readBytes(): Promise<number> {
  return Number(/^rchar: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
}
