import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { bytesOf, capture, draftOf } from './capture-of-tests.js';

let directory: string;
let store: DirectoryStore;
let incoming: Incoming;
let source: string;
const content = Buffer.concat([Buffer.alloc(300_000, 'root '), Buffer.alloc(8 * 1024 * 1024)]);
const contentSha256 = createHash('sha256').update(content).digest('hex');

beforeEach(async () => {
  directory = await makeTempDir();
  store = new DirectoryStore({ name: 'local', path: join(directory, 'store') });
  await store.prepare(null);
  incoming = await store.begin('debian', 'job-1');
  source = join(directory, 'root.img');
  const file = await open(source, 'w');
  await file.write(content.subarray(0, 300_000));
  await file.truncate(content.length);
  await file.close();
  // A nanosecond before the next second: rounded up, UML would refuse the pair.
  await utimes(source, 1_700_000_000.999, 1_700_000_000.999);
});

afterEach(() => removeTempDir(directory));

const backingEntries = async () => (await readdir(join(store.path, '.backing'))).sort();

async function storeIt(path = source, into = incoming, signal?: AbortSignal) {
  return withFile(path, (file) => store.storeBacking(into, { device: 'ubd0', path, fd: file.fd }, signal));
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
    const twin = join(directory, 'twin.img');
    await writeFile(twin, content);
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
    await settle(source);
    const atFirst = await readBytes();
    const first = await storeIt();
    const before = await readBytes();
    expect(before - atFirst).toBeGreaterThan(300_000);
    expect(await storeIt()).toEqual(first);
    expect((await readBytes()) - before).toBeLessThan(300_000);
  });

  it('is read again when it was written to a moment ago, since its times could stand still', async () => {
    await storeIt();
    expect(await backingEntries()).toEqual([`${contentSha256}.img`]);
  });

  it('that was changed is another one', async () => {
    await settle(source);
    const first = await storeIt();
    const file = await open(source, 'r+');
    await file.write(Buffer.from('x'), 0, 1, 5);
    await file.close();
    await utimes(source, 1_700_000_000.999, 1_700_000_000.999);
    const second = await storeIt();
    expect(second.sha256).not.toBe(first.sha256);
    expect((await backingEntries()).filter((entry) => entry.endsWith('.img')).length).toBe(2);
  });

  it('is stored anew when its copy is gone or cut short', async () => {
    await settle(source);
    const { file } = await storeIt();
    await rm(join(store.path, '.backing', file));
    await storeIt();
    expect((await readFile(join(store.path, '.backing', file))).equals(content)).toBe(true);
    await writeFile(join(store.path, '.backing', file), 'cut short');
    await storeIt();
    expect((await readFile(join(store.path, '.backing', file))).equals(content)).toBe(true);
  });

  it('is stored anew when the note about it was damaged', async () => {
    await settle(source);
    const first = await storeIt();
    await writeFile(join(store.path, '.backing', `${contentSha256}.json`), '{"sources": [{"dev":');
    expect(await storeIt()).toEqual(first);
  });

  it('that somebody writes to while it is read is refused, and nothing of it stays', async () => {
    const large = join(directory, 'large.img');
    await writeFile(large, Buffer.alloc(64 * 1024 * 1024, 1));
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

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** Until the file's last change is long enough ago for its times to be trusted. */
async function settle(path: string): Promise<void> {
  const { ctimeMs } = await stat(path);
  await waitFor('the last change to be old', () => Date.now() - ctimeMs > 2100);
}

/** How much this process has read so far, its threads included. */
async function readBytes(): Promise<number> {
  return Number(/^rchar: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
}
