import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InPlaceTarget } from '../../src/restore/in-place-plan.js';
import { type InPlaceOptions, restoreInPlace } from '../../src/restore/restore-in-place.js';
import { contentOfFile } from '../../src/image/read-content.js';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { sha256sum } from '../image/make-image.js';
import { canLoopMount, mountLoopFilesystem } from '../support/loop-filesystem.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { storeSnapshot } from './stored-snapshot.js';

const options: InPlaceOptions = {
  signal: new AbortController().signal,
  keepReplaced: false,
  now: new Date('2026-11-21T03:15:00Z'),
};
const image = { sizeBytes: 3_000_007, pieces: [{ offset: 1_000_000, length: 500_000 }] };
const mtime = '2025-06-07T08:09:10.123Z';

let dir: string;
let disks: string;
let root: string;
let base: string;
let source: RestoreSource;
beforeEach(async () => {
  dir = await makeTempDir();
  disks = join(dir, 'disks');
  await mkdir(disks);
  root = join(disks, 'root.img');
  base = join(disks, 'base.img');
  source = await storeSnapshot(join(dir, 'store'), [
    { device: 'ubd0', image },
    { device: 'ubd1', image, backing: { path: base, image, mtime } },
  ]);
  await writeFile(root, 'the old disk');
});
afterEach(() => removeTempDir(dir));

const target = (): InPlaceTarget => ({ device: 'ubd0', path: root });
const cowTarget = (): InPlaceTarget => ({ device: 'ubd1', path: join(disks, 'data.cow'), backingPath: base });
const storedSha = (index: number) => source.manifest.disks[index]?.sha256;

describe('a restore in place', () => {
  test('replaces the disk and passes on its owner and mode', async () => {
    const asRoot = process.getuid?.() === 0;
    if (asRoot) await chown(root, 1234, 4321);
    await chmod(root, 0o640);
    await restoreInPlace(source, [target()], options);
    expect(await sha256sum(root)).toBe(storedSha(0));
    const { uid, gid, mode } = await stat(root);
    expect(mode & 0o7777).toBe(0o640);
    if (asRoot) expect([uid, gid]).toEqual([1234, 4321]);
    expect(await readdir(disks)).toEqual(['root.img']);
  });

  test('keeps the replaced disk under a name of its own when asked to, and never over another', async () => {
    const [restored] = await restoreInPlace(source, [target()], { ...options, keepReplaced: true });
    expect(restored?.replacedPath).toBe(`${root}.before-restore-20261121T031500Z`);
    expect(await readFile(restored?.replacedPath ?? '', 'utf8')).toBe('the old disk');
    const again = restoreInPlace(source, [target()], { ...options, keepReplaced: true });
    await expect(again).rejects.toMatchObject({ code: 'TargetExists' });
    expect(await readFile(restored?.replacedPath ?? '', 'utf8')).toBe('the old disk');
    expect(await sha256sum(root)).toBe(storedSha(0));
  });

  test('gives a disk that was lost, closed to others', async () => {
    await rm(root);
    await restoreInPlace(source, [target()], options);
    expect(await sha256sum(root)).toBe(storedSha(0));
    expect((await stat(root)).mode & 0o777).toBe(0o600);
  });

  test('restores a missing backing file with its mtime and leaves the same one alone', async () => {
    const [first] = await restoreInPlace(source, [cowTarget()], options);
    expect(first?.backing).toEqual({ path: base, state: 'restored' });
    const made = await stat(base);
    expect(Math.floor(made.mtimeMs / 1000)).toBe(Math.floor(Date.parse(mtime) / 1000));
    const [second] = await restoreInPlace(source, [cowTarget()], options);
    expect(second?.backing).toEqual({ path: base, state: 'unchanged' });
    expect((await stat(base)).ino).toBe(made.ino);
  });

  test.each([
    ['size', () => writeFile(base, 'other'), /5 bytes, not 3000007/],
    ['time', () => utimes(base, 1, 1), /last written to at 1970/],
    ['content', () => flipAndKeepTime(base), /its content differs/],
  ])(
    'refuses a backing file that differs in %s, since other guests may stand on it',
    async (_, change, expected) => {
      await restoreInPlace(source, [cowTarget()], options);
      await change();
      const before = await sha256sum(base);
      const { path } = cowTarget();
      await writeFile(path, 'the old disk');
      await expect(restoreInPlace(source, [cowTarget()], options)).rejects.toMatchObject({
        code: 'RestoreFailed',
        facts: { path: base, problem: expect.stringMatching(expected) },
      });
      expect(await sha256sum(base)).toBe(before);
      expect(await readFile(path, 'utf8')).toBe('the old disk');
    },
  );

  test.each([
    ['a disk that the snapshot lacks', () => ({ device: 'ubd7', path: root }), /has no ubd7/],
    [
      'a raw disk where a COW file was',
      () => ({ ...cowTarget(), backingPath: undefined }),
      /holds it as a COW file/,
    ],
    ['a COW file where a raw disk was', () => ({ ...target(), backingPath: base }), /holds it as a raw disk/],
  ])('refuses %s', async (_, wrong, expected) => {
    const { backingPath, ...rest } = wrong() as { device: string; path: string; backingPath?: string };
    const targets = [backingPath === undefined ? rest : { ...rest, backingPath }];
    await expect(restoreInPlace(source, targets, options)).rejects.toMatchObject({
      code: 'RestoreFailed',
      facts: { problem: expect.stringMatching(expected) },
    });
  });

  test('refuses a symbolic link, whose place the disk would take', async () => {
    await rename(root, join(disks, 'elsewhere'));
    await symlink(join(disks, 'elsewhere'), root);
    await expect(restoreInPlace(source, [target()], options)).rejects.toThrow(/not a regular file/);
  });

  test('of a snapshot that was tampered with replaces nothing, not even the disks that are sound (fault 65)', async () => {
    const data = join(disks, 'data.cow');
    await writeFile(data, 'the old data');
    await writeFile(join(dir, 'store', 'ubd1.cow'), 'x', { flag: 'r+' });
    const restoring = restoreInPlace(source, [target(), cowTarget()], options);
    await expect(restoring).rejects.toMatchObject({ code: 'SnapshotDamaged' });
    expect(await readFile(root, 'utf8')).toBe('the old disk');
    expect(await readFile(data, 'utf8')).toBe('the old data');
    expect((await readdir(disks)).sort()).toEqual(['data.cow', 'root.img']);
  });

  test('puts the first disk back when the second can not be replaced', async () => {
    const data = join(disks, 'data.cow');
    await writeFile(data, 'the old data');
    // The name that the second one's replaced disk would get is taken.
    await writeFile(`${data}.before-restore-20261121T031500Z`, 'of another day');
    const restoring = restoreInPlace(source, [target(), cowTarget()], options);
    await expect(restoring).rejects.toMatchObject({ code: 'TargetExists' });
    expect(await readFile(root, 'utf8')).toBe('the old disk');
    expect(await readFile(data, 'utf8')).toBe('the old data');
    expect(await readFile(`${data}.before-restore-20261121T031500Z`, 'utf8')).toBe('of another day');
    expect(await readdir(disks)).toHaveLength(4);
  });
});

async function flipAndKeepTime(path: string): Promise<void> {
  const { atime, mtime: written } = await stat(path);
  await writeFile(path, 'x', { flag: 'r+' });
  await utimes(path, atime, written);
}

/** Takes the lock that UML takes: F_SETLK, for writing, on all of the file. */
const lockLikeUml =
  'open(F, "+<", $ARGV[0]); my $lock = pack("s s x4 q q l x4", 1, 0, 0, 0, 0); fcntl(F, 6, $lock) or exit(7);';
const holders = {
  'a lock like that of UML': lockLikeUml,
  'an open descriptor without a lock': 'open(F, "<", $ARGV[0]);',
};

describe.each(Object.entries(holders))('a disk in use (fault 63), by %s', (_, hold) => {
  test('is refused with the pid, and taken as soon as it is let go', async () => {
    const holder = spawn('perl', ['-e', `${hold} $| = 1; print "held\\n"; <STDIN>;`, root], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    // Before a byte of the snapshot is read, let alone written: that may take hours.
    const openFile = () => Promise.reject(new Error('it was read'));
    try {
      await expect(restoreInPlace({ ...source, openFile }, [target()], options)).rejects.toMatchObject({
        code: 'TargetInUse',
        facts: { path: root, pid: holder.pid },
      });
      expect(await readFile(root, 'utf8')).toBe('the old disk');
      expect(await readdir(disks)).toEqual(['root.img']);
    } finally {
      holder.stdin.end();
      await once(holder, 'exit');
    }
    await restoreInPlace(source, [target()], options);
    expect(await sha256sum(root)).toBe(storedSha(0));
  });
});

test('a guest that boots during the restore is kept out by our lock', async () => {
  const openFile = async (file: string) => {
    const guest = spawn('perl', ['-e', lockLikeUml, root]);
    expect(await once(guest, 'exit')).toEqual([7, null]);
    return contentOfFile(await open(join(dir, 'store', file)));
  };
  await restoreInPlace({ ...source, openFile }, [target()], options);
  expect(await sha256sum(root)).toBe(storedSha(0));
});

test('a disk that somebody opens during the restore is left alone', async () => {
  const holder = spawn(
    'perl',
    ['-e', '$| = 1; <STDIN>; open(F, "<", $ARGV[0]); print "held\n"; <STDIN>;', root],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const openFile = async (file: string) => {
    holder.stdin.write('\n');
    await once(holder.stdout, 'data');
    return contentOfFile(await open(join(dir, 'store', file)));
  };
  const restoring = restoreInPlace({ ...source, openFile }, [target()], options);
  await expect(restoring).rejects.toMatchObject({ code: 'TargetInUse', facts: { pid: holder.pid } });
  holder.stdin.end();
  await once(holder, 'exit');
  expect(await readFile(root, 'utf8')).toBe('the old disk');
  expect(await readdir(disks)).toEqual(['root.img']);
});

test('a disk that takes the place of the old one during the restore is left alone', async () => {
  const openFile = async (file: string) => {
    await rename(root, join(disks, 'moved'));
    await writeFile(root, 'another disk');
    return contentOfFile(await open(join(dir, 'store', file)));
  };
  await expect(restoreInPlace({ ...source, openFile }, [target()], options)).rejects.toMatchObject({
    code: 'RestoreFailed',
    facts: { path: root, problem: 'it was replaced during the restore' },
  });
  expect(await readFile(root, 'utf8')).toBe('another disk');
  expect((await readdir(disks)).sort()).toEqual(['moved', 'root.img']);
});

test.skipIf(!canLoopMount('ext4'))(
  'a target without room keeps its old disk, and nothing else (fault 64)',
  async () => {
    const small = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 2 });
    try {
      const path = join(small.mountPoint, 'root.img');
      const large = { sizeBytes: 8_000_000, pieces: [{ offset: 0, length: 8_000_000 }] };
      const full = await storeSnapshot(join(dir, 'large'), [{ device: 'ubd0', image: large }]);
      await writeFile(path, 'the old disk');
      const restoring = restoreInPlace(full, [{ device: 'ubd0', path }], options);
      await expect(restoring).rejects.toMatchObject({
        code: 'RestoreFailed',
        facts: { problem: 'there is no room left (ENOSPC)' },
      });
      expect(await readFile(path, 'utf8')).toBe('the old disk');
      expect((await readdir(small.mountPoint)).sort()).toEqual(['lost+found', 'root.img']);
    } finally {
      await small.remove();
    }
  },
);
