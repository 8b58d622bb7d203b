import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { verifySnapshot } from '../../src/restore/verify-snapshot.js';
import { allocatedBytes, imageShapes, withOpen } from '../image/make-image.js';
import { canLoopMount, mountLoopFilesystem } from '../support/loop-filesystem.js';
import { tryTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { storeSnapshot } from './stored-snapshot.js';

const signal = new AbortController().signal;
const data = { sizeBytes: 3_000_007, pieces: [{ offset: 1_000_000, length: 500_000 }] };

let dir: string;
let store: string;
let target: string;
beforeEach(async () => {
  dir = await makeTempDir();
  store = join(dir, 'store');
  target = join(dir, 'deep', 'restored');
});
afterEach(() => removeTempDir(dir));

const backing = (path = '/srv/uml/base image.img') => ({
  path,
  image: data,
  mtime: '2025-06-07T08:09:10.123Z',
});

describe('a restore to a directory', () => {
  for (const type of ['ext4', 'xfs'] as const) {
    test.skipIf(!canLoopMount(type))(
      `gives every disk byte for byte and hole for hole on ${type}`,
      async () => {
        const filesystem = await mountLoopFilesystem({ type, sizeMiB: 400 });
        try {
          const wishes = imageShapes.map((image, index) => ({ device: `ubd${index}`, image }));
          const source = await storeSnapshot(store, wishes);
          const restored = await restoreToDirectory(source, join(filesystem.mountPoint, 'restored'), {
            signal,
          });
          expect(restored).toHaveLength(wishes.length);
          for (const { device, path } of restored) {
            const stored = join(store, `${device}.img`);
            expect((await tryTool('cmp', [stored, path])).output).toBe('');
            expect(await allocatedBytes(path)).toBeLessThanOrEqual((await allocatedBytes(stored)) + 65_536);
          }
        } finally {
          await filesystem.remove();
        }
      },
    );
  }

  test("keeps the backing file's name and mtime, without which UML refuses the pair", async () => {
    const shared = backing();
    const source = await storeSnapshot(store, [
      { device: 'ubd0', image: data, backing: shared },
      { device: 'ubd1', image: data, backing: shared },
    ]);
    const restored = await restoreToDirectory(source, target, { signal });
    expect((await readdir(target)).sort()).toEqual(['base image.img', 'ubd0.cow', 'ubd1.cow']);
    for (const disk of restored) {
      const path = disk.backing?.path ?? '';
      expect(basename(path)).toBe('base image.img');
      expect(Math.floor((await stat(path)).mtimeMs / 1000)).toBe(Date.parse('2025-06-07T08:09:10Z') / 1000);
    }
    expect((await stat(target)).mode & 0o777).toBe(0o700);
  });

  test.each([['/srv/..'], ['/srv/uml/'], ['/srv/\u001b[2Jclear'], ['ubd1.img'], ['/srv/.hidden']])(
    'gives the backing file a name of ours where its own would lead astray: %j',
    async (path) => {
      const source = await storeSnapshot(store, [
        { device: 'ubd0', image: data, backing: { ...backing(path), path } },
        { device: 'ubd1', image: data },
      ]);
      const [disk] = await restoreToDirectory(source, target, { signal });
      const name = path === '/srv/uml/' ? 'uml' : 'ubd0.backing';
      expect(disk?.backing?.path).toBe(join(target, name));
      expect(await readdir(target)).toHaveLength(3);
    },
  );

  test.each([
    ['a disk', 'ubd1.img'],
    ['a backing file', 'base image.img'],
  ])('is refused before anything is written where %s lies already, also as a dead link', async (_, name) => {
    const source = await storeSnapshot(store, [
      { device: 'ubd0', image: data, backing: backing() },
      { device: 'ubd1', image: data },
    ]);
    await mkdir(target, { recursive: true });
    await symlink('/nowhere', join(target, name));
    await expect(restoreToDirectory(source, target, { signal })).rejects.toMatchObject({
      code: 'TargetExists',
      facts: { path: join(target, name) },
    });
    expect(await readdir(target)).toEqual([name]);
  });

  test('that is aborted leaves nothing', async () => {
    const source = await storeSnapshot(store, [{ device: 'ubd0', image: data }]);
    // Work for seconds; that it does not match its manifest would only be seen at the end.
    await withOpen(join(store, 'ubd0.img'), 'r+', (file) => file.truncate(2 ** 33));
    const cut = new AbortController();
    const restoring = restoreToDirectory(source, target, {
      signal: cut.signal,
      onProgress: () => cut.abort(new Error('enough')),
    });
    await expect(restoring).rejects.toThrow('enough');
    expect(await readdir(target)).toEqual([]);
  });
});

describe('a snapshot that was tampered with (fault 65)', () => {
  let source: RestoreSource;
  beforeEach(async () => {
    source = await storeSnapshot(store, [
      { device: 'ubd0', image: data },
      { device: 'ubd1', image: data, backing: backing() },
    ]);
  });

  async function flipByte(path: string, position: number): Promise<void> {
    await withOpen(path, 'r+', async (file) => {
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, position);
      await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, position);
    });
  }

  const damages: [string, () => Promise<unknown>, RegExp][] = [
    [
      'one flipped bit of data',
      () => flipByte(join(store, 'ubd1.cow'), 1_200_000),
      /ubd1\.cow does not match/,
    ],
    [
      'one byte written into a hole',
      () => flipByte(join(store, 'ubd1.cow'), 2_999_999),
      /ubd1\.cow does not match/,
    ],
    [
      'a changed backing file',
      () => flipByte(join(store, 'backing', 'base image.img.img'), 0),
      /base image.* does not match/,
    ],
    [
      'a file cut short',
      () => withOpen(join(store, 'ubd1.cow'), 'r+', (file) => file.truncate(3_000_000)),
      /ubd1\.cow has 3000000 bytes where the manifest says 3000007/,
    ],
    ['a missing file', () => tryTool('rm', [join(store, 'ubd1.cow')]), /ubd1\.cow is missing/],
  ];

  test.each(damages)('by %s is neither restored nor called good', async (_, damage, expected) => {
    expect(await verifySnapshot(source, { signal })).toMatchObject({ ok: true });
    await damage();
    expect(await verifySnapshot(source, { signal })).toMatchObject({
      ok: false,
      problem: expect.stringMatching(expected),
    });
    await expect(restoreToDirectory(source, target, { signal })).rejects.toMatchObject({
      code: 'SnapshotDamaged',
      facts: { problem: expect.stringMatching(expected) },
    });
    // The sound disk came first, and is not left behind alone either.
    expect(await readdir(target)).toEqual([]);
  });

  test('is not verified any further once the reader has had enough', async () => {
    await expect(verifySnapshot(source, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    );
  });
});

test('what a killed restore left there is cleared away, what is none of it stays', async () => {
  const source = await storeSnapshot(store, [{ device: 'ubd0', image: data }]);
  await mkdir(target, { recursive: true });
  await writeFile(join(target, 'ubd0.img.umlsnap-restore-0badcafe'), 'leftover');
  await writeFile(join(target, 'ubd0.img.umlsnap-restore-notes'), 'of the user');
  await chmod(join(target, 'ubd0.img.umlsnap-restore-notes'), 0o600);
  await restoreToDirectory(source, target, { signal });
  expect((await readdir(target)).sort()).toEqual(['ubd0.img', 'ubd0.img.umlsnap-restore-notes']);
});
