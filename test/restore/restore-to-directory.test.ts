import { mkdir, readdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { verifySnapshot } from '../../src/verify/verify-snapshot.js';
import { allocatedBytes, imageShapes } from '../image/make-image.js';
import { flipByte } from '../store/capture-of-tests.js';
import { mergeCow } from '../support/inspect-image.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { pairFiles, storePair, storeSnapshot } from './stored-snapshot.js';

const signal = new AbortController().signal;
const data = { sizeBytes: 3_000_007, pieces: [{ offset: 1_000_000, length: 500_000 }] };
const raw = (device: string) => ({ device, image: data });
const cow = (device: string, path = '/srv/uml/base image.img') => ({
  ...{ device, image: data, backing: { path, image: data, mtime: '2025-06-07T08:09:10.123Z' } },
});

let dir: string;
let store: string;
let target: string;
beforeEach(async () => {
  dir = await makeTempDir();
  store = join(dir, 'store');
  target = join(dir, 'deep', 'restored');
});
afterEach(() => removeTempDir(dir));

describe('a restore to a directory', () => {
  test('gives every disk byte for byte and hole for hole', async () => {
    const specs = imageShapes.map((image, index) => ({ device: `ubd${index}`, image }));
    const source = await storeSnapshot(store, specs);
    const restored = await restoreToDirectory(source, target, { signal });
    expect(restored).toHaveLength(specs.length);
    for (const { device, path } of restored) {
      const stored = join(store, `${device}.img`);
      await runTool('cmp', [stored, path]);
      expect(await allocatedBytes(path)).toBeLessThanOrEqual((await allocatedBytes(stored)) + 65_536);
    }
  });

  test("keeps the backing file's name and mtime, without which UML refuses the pair, and is closed to others", async () => {
    const source = await storeSnapshot(store, [cow('ubd0'), cow('ubd1')]);
    const restored = await restoreToDirectory(source, target, { signal });
    expect((await readdir(target)).sort()).toEqual(['base image.img', 'ubd0.cow', 'ubd1.cow']);
    for (const { backing } of restored) {
      expect(basename(backing?.path ?? '')).toBe('base image.img');
      const { mtimeMs } = await stat(backing?.path ?? '');
      expect(Math.floor(mtimeMs / 1000)).toBe(Date.parse('2025-06-07T08:09:10Z') / 1000);
    }
    expect((await stat(target)).mode & 0o777).toBe(0o700);
  });

  test.each([
    ['/srv/..', 'ubd0.backing'],
    ['/srv/uml/', 'uml'],
    ['/srv/\u001b[2Jclear', 'ubd0.backing'],
    ['ubd1.img', 'ubd0.backing'],
    ['/srv/.hidden', 'ubd0.backing'],
  ])('gives the backing file a name of ours where its own would lead astray: %j', async (path, name) => {
    const source = await storeSnapshot(store, [cow('ubd0', path), raw('ubd1')]);
    const [disk] = await restoreToDirectory(source, target, { signal });
    expect(disk?.backing?.path).toBe(join(target, name));
    expect(await readdir(target)).toHaveLength(3);
  });

  test.each(['ubd1.img', 'base image.img'])(
    'is refused before anything is written where %s lies already, also as a dead link',
    async (name) => {
      const source = await storeSnapshot(store, [cow('ubd0'), raw('ubd1')]);
      await mkdir(target, { recursive: true });
      await symlink('/nowhere', join(target, name));
      await expect(restoreToDirectory(source, target, { signal })).rejects.toMatchObject({
        ...{ code: 'TargetExists', facts: { path: join(target, name) } },
      });
      expect(await readdir(target)).toEqual([name]);
    },
  );

  test('that is aborted leaves nothing', async () => {
    const source = await storeSnapshot(store, [raw('ubd0')]);
    // Work for an hour; that it is not what its manifest says would only be seen at the end.
    const disks = source.manifest.disks.map((disk) => ({ ...disk, sizeBytes: 2 ** 42 }));
    await truncate(join(store, 'ubd0.img'), 2 ** 42);
    const cut = new AbortController();
    const onProgress = () => cut.abort(new Error('enough'));
    const long = { ...source, manifest: { ...source.manifest, disks } };
    const restoring = restoreToDirectory(long, target, { signal: cut.signal, onProgress });
    await expect(restoring).rejects.toThrow('enough');
    expect(await readdir(target)).toEqual([]);
  });

  test('of a file that has become terabytes since it was listed reads none of it', async () => {
    const source = await storeSnapshot(store, [raw('ubd0')]);
    await truncate(join(store, 'ubd0.img'), 2 ** 42);
    const restoring = restoreToDirectory(source, target, { signal });
    await expect(restoring).rejects.toMatchObject({ code: 'SnapshotDamaged' });
    expect(await readdir(target)).toEqual([]);
  });

  test('clears away what a killed one has left there, and nothing else', async () => {
    const source = await storeSnapshot(store, [raw('ubd0')]);
    await mkdir(target, { recursive: true });
    await writeFile(join(target, 'ubd0.img.umlsnap-restore-0badcafe'), 'leftover');
    await writeFile(join(target, 'ubd0.img.umlsnap-restore-notes'), 'of the user');
    await restoreToDirectory(source, target, { signal });
    expect((await readdir(target)).sort()).toEqual(['ubd0.img', 'ubd0.img.umlsnap-restore-notes']);
  });
});

describe('a restore that merges', () => {
  const merge = true;

  test('gives the raw image that uml_moo makes of a COW pair, sparse, of files that are read once, and raw disks as ever', async () => {
    const pair = await storePair(store);
    const plain = await storeSnapshot(store, [raw('ubd2')]);
    const disks = [...pair.manifest.disks, ...plain.manifest.disks];
    const opened: string[] = [];
    const source: RestoreSource = {
      manifest: { ...pair.manifest, disks },
      openFile: async (file) => {
        opened.push(file);
        return await pair.openFile(file);
      },
      openBacking: async (file) => {
        opened.push(file);
        return await pair.openBacking(file);
      },
    };
    const restored = await restoreToDirectory(source, target, { signal, merge });
    const [cow, backing] = [join(store, pairFiles.cow), join(store, pairFiles.backing)];
    const theirs = join(dir, 'theirs');
    await mergeCow(cow, backing, theirs);
    const image = join(target, 'ubd1.img');
    await runTool('cmp', [theirs, image]);
    const allocated = await allocatedBytes(image);
    expect(allocated).toBeLessThan((await allocatedBytes(cow)) + (await allocatedBytes(backing)));
    expect(restored).toMatchObject([
      {
        ...{ device: 'ubd1', kind: 'raw', path: image, sizeBytes: 3_000_320, backing: null, merged: true },
        dataBytes: expect.toSatisfy((bytes) => bytes > 500_000 && bytes <= allocated),
      },
      { device: 'ubd2', kind: 'raw', merged: false },
    ]);
    expect((await readdir(target)).sort()).toEqual(['ubd1.img', 'ubd2.img']);
    expect(opened.sort()).toEqual(['base.img.img', 'ubd1.cow', 'ubd2.img']);
  });

  test.each([pairFiles.cow, pairFiles.backing])(
    'does so of no pair in which a bit of %s was flipped',
    async (file) => {
      const source = await storePair(store);
      await flipByte(join(store, file), 0.5);
      const merging = restoreToDirectory(source, target, { signal, merge });
      await expect(merging).rejects.toMatchObject({ code: 'SnapshotDamaged' });
      expect(await readdir(target)).toEqual([]);
    },
  );

  test('tells a COW file that is as it was captured, and none of its backing file', async () => {
    const source = await storeSnapshot(store, [raw('ubd0'), cow('ubd1')]);
    const merging = restoreToDirectory(source, target, { signal, merge });
    const facts = { file: 'ubd1.cow', problem: 'the COW file has no COW header' };
    await expect(merging).rejects.toMatchObject({ code: 'NoCowPair', facts });
    expect(await readdir(target)).toEqual([]);
  });
});

const base = 'backing/base image.img.img';

test.each<[by: string, file: string, damage: (path: string) => Promise<unknown>, problem: RegExp]>([
  ['one flipped bit', 'ubd1.cow', (path) => flipByte(path, 0.4), /ubd1\.cow does not match/],
  ['one byte in a hole', 'ubd1.cow', (path) => flipByte(path, 0.99), /ubd1\.cow does not match/],
  ['a changed backing file', base, (path) => flipByte(path, 0), /base image.* does not match/],
  [
    'a file cut short',
    'ubd1.cow',
    (path) => truncate(path, 3_000_000),
    /ubd1\.cow has 3000000 bytes where the manifest says 3000007/,
  ],
  ['a missing file', 'ubd1.cow', (path) => rm(path), /ubd1\.cow is missing/],
])(
  'a snapshot that was tampered with (fault 65) by %s is neither restored nor called good',
  async (_, file, damage, expected) => {
    const source = await storeSnapshot(store, [raw('ubd0'), cow('ubd1')]);
    expect(await verifySnapshot(source, { signal })).toMatchObject({ ok: true });
    await damage(join(store, file));
    const problem = expect.stringMatching(expected);
    expect(await verifySnapshot(source, { signal })).toMatchObject({ ok: false, problem });
    await expect(restoreToDirectory(source, target, { signal })).rejects.toMatchObject({
      ...{ code: 'SnapshotDamaged', facts: { problem } },
    });
    // The sound disk came first, and is not left behind alone either.
    expect(await readdir(target)).toEqual([]);
  },
);

test('a backing file that was sound for one snapshot is read again for another that says other content of it', async () => {
  const soundBackings = new Set<string>();
  const source = await storeSnapshot(store, [cow('ubd1')]);
  expect(await verifySnapshot(source, { signal, soundBackings })).toMatchObject({ ok: true });
  const manifest = structuredClone(source.manifest);
  for (const { backing } of manifest.disks) if (backing) backing.sha256 = '0'.repeat(64);
  const problem = expect.stringContaining('base image');
  const verdict = await verifySnapshot({ ...source, manifest }, { signal, soundBackings });
  expect(verdict).toMatchObject({ ok: false, problem });
});
