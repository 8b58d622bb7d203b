import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  chown,
  link,
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
import { contentOfFile } from '../../src/image/read-content.js';
import { withLocks } from '../../src/locks/exclusive-lock.js';
import type { InPlaceTarget } from '../../src/restore/in-place-plan.js';
import { restoreInPlace } from '../../src/restore/restore-in-place.js';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { sha256sum } from '../image/make-image.js';
import { canLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { storeSnapshot } from './stored-snapshot.js';

const image = { sizeBytes: 3_000_007, pieces: [{ offset: 1_000_000, length: 500_000 }] };
const mtime = '2025-06-07T08:09:10.123Z';

let dir: string;
let disks: string;
let root: string;
let data: string;
let base: string;
let source: RestoreSource;
beforeEach(async () => {
  dir = await makeTempDir();
  disks = join(dir, 'disks');
  root = join(disks, 'root.img');
  data = join(disks, 'data.cow');
  base = join(disks, 'base.img');
  await mkdir(disks);
  await writeFile(root, 'the old disk');
  source = await storeSnapshot(join(dir, 'store'), [
    { device: 'ubd0', image },
    { device: 'ubd1', image, backing: { path: base, image, mtime } },
  ]);
});
afterEach(() => removeTempDir(dir));

const ofRoot = () => ({ device: 'ubd0', path: root });
const ofCow = () => ({ device: 'ubd1', path: data, backingPath: base });

function restore(targets: InPlaceTarget[] = [ofRoot()], { keepReplaced = false, from = source } = {}) {
  const { signal } = new AbortController();
  return restoreInPlace(from, targets, { signal, keepReplaced, now: new Date('2026-11-21T03:15:00Z') });
}

/** Restores, and does this once it has begun to read. */
function restoreAnd(meanwhile: () => Promise<unknown>) {
  const openFile = async (file: string) => {
    await meanwhile();
    return contentOfFile(await open(join(dir, 'store', file)));
  };
  return restore([ofRoot()], { from: { ...source, openFile } });
}

const expectRestored = async () => expect(await sha256sum(root)).toBe(source.manifest.disks[0]?.sha256);

/** @param names what lies beside it */
async function expectOld(...names: string[]) {
  expect(await readFile(root, 'utf8')).toBe('the old disk');
  expect((await readdir(disks)).sort()).toEqual([...names, 'root.img'].sort());
}

describe('a restore in place', () => {
  test('replaces the disk, which its job has locked, and passes on its owner and mode, but no right to run as somebody else', async () => {
    const locks = [{ on: 'disk', path: root } as const];
    const lock = { locks, holder: 'its job', what: 'The disk', wait: false };
    const asRoot = process.getuid?.() === 0;
    if (asRoot) await chown(root, 1234, 4321);
    await chmod(root, 0o6640);
    await withLocks(lock, () => restore());
    await expectRestored();
    const { uid, gid, mode } = await stat(root);
    expect(mode & 0o7777).toBe(0o640);
    if (asRoot) expect([uid, gid]).toEqual([1234, 4321]);
    expect(await readdir(disks)).toEqual(['root.img']);
  });

  test('keeps the replaced disk under a name of its own when asked to, and never over another', async () => {
    const [restored] = await restore([ofRoot()], { keepReplaced: true });
    const replaced = `${root}.before-restore-20261121T031500Z`;
    expect(restored?.replacedPath).toBe(replaced);
    const again = restore([ofRoot()], { keepReplaced: true });
    await expect(again).rejects.toMatchObject({ code: 'TargetExists' });
    expect(await readFile(replaced, 'utf8')).toBe('the old disk');
    await expectRestored();
  });

  test('gives a disk that was lost, closed to others', async () => {
    await rm(root);
    await restore();
    await expectRestored();
    expect((await stat(root)).mode & 0o777).toBe(0o600);
  });

  test('restores a missing backing file with its mtime and leaves the same one alone', async () => {
    const [first] = await restore([ofCow()]);
    expect(first?.backing).toEqual({ path: base, state: 'restored' });
    const made = await stat(base);
    expect(Math.floor(made.mtimeMs / 1000)).toBe(Math.floor(Date.parse(mtime) / 1000));
    const [second] = await restore([ofCow()]);
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
      await restore([ofCow()]);
      await change();
      const before = await sha256sum(base);
      await writeFile(data, 'the old data');
      const problem = expect.stringMatching(expected);
      await expect(restore([ofCow()])).rejects.toMatchObject({
        ...{ code: 'RestoreFailed', facts: { path: base, problem } },
      });
      expect(await sha256sum(base)).toBe(before);
      expect(await readFile(data, 'utf8')).toBe('the old data');
    },
  );

  test.each([
    ['a disk that the snapshot lacks', 'ubd7', false, /has no ubd7/],
    ['a raw disk where a COW file was', 'ubd1', false, /holds it as a COW file/],
    ['a COW file where a raw disk was', 'ubd0', true, /holds it as a raw disk/],
  ])('refuses %s', async (_, device, isCow, expected) => {
    const refused = restore([{ device, path: root, ...(isCow && { backingPath: base }) }]);
    await expect(refused).rejects.toMatchObject({
      ...{ code: 'RestoreFailed', facts: { problem: expect.stringMatching(expected) } },
    });
  });

  test('refuses two disks that share a backing file and want another time of it: UML would take only one', async () => {
    const shared = { path: base, image, mtime };
    const later = { ...shared, mtime: '2025-06-07T08:09:11.123Z' };
    const from = await storeSnapshot(join(dir, 'shared'), [
      { device: 'ubd1', image, backing: shared },
      { device: 'ubd2', image, backing: later },
    ]);
    const refused = restore([ofCow(), { ...ofCow(), device: 'ubd2', path: root }], { from });
    await expect(refused).rejects.toMatchObject({
      ...{ code: 'RestoreFailed', facts: { problem: expect.stringMatching(/not all on .*base.img/) } },
    });
    await expectOld();
  });

  test('refuses a disk that has a second name, under which it may be anything', async () => {
    await link(root, join(disks, 'other'));
    await expect(restore()).rejects.toThrow(/2 names/);
    await expectOld('other');
  });

  test('refuses a FIFO or a device in the place of a backing file, and does not wait for it', async () => {
    await runTool('mkfifo', [base]);
    await expect(restore([ofCow()])).rejects.toThrow(/not a regular file/);
    await rm(base);
    await symlink('/dev/zero', base);
    await expect(restore([ofCow()])).rejects.toThrow(/symbolic link/);
  });

  test('refuses a symbolic link, whose place the disk would take', async () => {
    await rename(root, join(disks, 'elsewhere'));
    await symlink(join(disks, 'elsewhere'), root);
    await expect(restore()).rejects.toThrow(/symbolic link/);
  });

  test('of a snapshot that was tampered with replaces nothing, not even the disks that are sound (fault 65)', async () => {
    await writeFile(data, 'the old data');
    await writeFile(join(dir, 'store', 'ubd1.cow'), 'x', { flag: 'r+' });
    await expect(restore([ofRoot(), ofCow()])).rejects.toMatchObject({ code: 'SnapshotDamaged' });
    expect(await readFile(data, 'utf8')).toBe('the old data');
    await expectOld('data.cow');
  });

  test('puts the first disk back when the last can not be replaced, and takes one away again that had been lost', async () => {
    await writeFile(data, 'the old data');
    // The name that the last one's replaced disk would get is taken.
    const taken = 'data.cow.before-restore-20261121T031500Z';
    await writeFile(join(disks, taken), 'of another day');
    const lost = { device: 'ubd0', path: join(disks, 'lost.img') };
    await expect(restore([ofRoot(), lost, ofCow()])).rejects.toMatchObject({ code: 'TargetExists' });
    expect(await readFile(data, 'utf8')).toBe('the old data');
    expect(await readFile(join(disks, taken), 'utf8')).toBe('of another day');
    await expectOld('data.cow', 'base.img', taken);
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
const openOnly = 'open(F, "<", $ARGV[0]);';

/** Has somebody else take hold of the disk in this way. */
async function takeHold(how: string) {
  const holder = spawn('perl', ['-e', `${how} $| = 1; print "held\n"; <STDIN>;`, root]);
  await once(holder.stdout, 'data');
  const letGo = async () => {
    holder.stdin.end();
    await once(holder, 'exit');
  };
  return { pid: holder.pid, letGo };
}

test.each([
  ['a lock like that of UML', lockLikeUml],
  ['an open descriptor without a lock', openOnly],
])('a disk in use (fault 63) by %s is refused with the pid, and taken once it is let go', async (_, how) => {
  const holder = await takeHold(how);
  // Before a byte of the snapshot is read, let alone written: that may take hours.
  const refusal = await restoreAnd(() => expect.unreachable()).catch((error: unknown) => error);
  await expectOld();
  await holder.letGo();
  expect(refusal).toMatchObject({ code: 'TargetInUse', facts: { path: root, pid: holder.pid } });
  await restore();
  await expectRestored();
});

test('a guest that boots during the restore is kept out by our lock', async () => {
  await restoreAnd(async () => {
    const guest = spawn('perl', ['-e', lockLikeUml, root]);
    expect(await once(guest, 'exit')).toEqual([7, null]);
  });
  await expectRestored();
});

test('a disk that somebody opens during the restore is left alone', async () => {
  let holder: Awaited<ReturnType<typeof takeHold>> | undefined;
  const refusal = await restoreAnd(async () => {
    holder = await takeHold(openOnly);
  }).catch((error: unknown) => error);
  await holder?.letGo();
  expect(refusal).toMatchObject({ code: 'TargetInUse', facts: { pid: holder?.pid } });
  await expectOld();
});

test('a disk that takes the place of the old one during the restore is left alone', async () => {
  const replaced = restoreAnd(async () => {
    await rename(root, join(disks, 'moved'));
    await writeFile(root, 'another disk');
  });
  await expect(replaced).rejects.toMatchObject({
    ...{ code: 'RestoreFailed', facts: { path: root, problem: 'it was replaced during the restore' } },
  });
  expect(await readFile(root, 'utf8')).toBe('another disk');
  expect((await readdir(disks)).sort()).toEqual(['moved', 'root.img']);
});

test.skipIf(!canLoopMount('ext4'))(
  'a target without room keeps its old disk, and nothing else (fault 64)',
  async () => {
    const large = { sizeBytes: 8_000_000, pieces: [{ offset: 0, length: 8_000_000 }] };
    const full = await storeSnapshot(join(dir, 'large'), [{ device: 'ubd0', image: large }]);
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 2 }, async (small) => {
      const path = join(small, 'root.img');
      await writeFile(path, 'the old disk');
      await expect(restore([{ device: 'ubd0', path }], { from: full })).rejects.toMatchObject({
        ...{ code: 'RestoreFailed', facts: { problem: 'there is no room left (ENOSPC)' } },
      });
      expect(await readFile(path, 'utf8')).toBe('the old disk');
      expect((await readdir(small)).sort()).toEqual(['lost+found', 'root.img']);
    });
  },
);
