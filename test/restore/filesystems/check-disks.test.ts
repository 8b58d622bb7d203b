import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, open as openFile, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemRecord } from '../../../src/history/records.js';
import type { ImageContent } from '../../../src/image/image-content.js';
import { contentOfFile } from '../../../src/image/read-content.js';
import { checkFilesystem } from '../../../src/restore/filesystems/check-filesystem.js';
import { runChecker } from '../../../src/restore/filesystems/checker-process.js';
import { type CheckOptions, checkDisks } from '../../../src/restore/filesystems/check-disks.js';
import type { RestoreSource } from '../../../src/restore/restore-source.js';
import { makeLargeExt4, withOpen } from '../../image/make-image.js';
import { canLoopMount, type LoopFilesystem, mountLoopFilesystem } from '../../support/loop-filesystem.js';
import { runTool, tryTool } from '../../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';
import { waitFor } from '../../support/wait-for.js';
import { sourceOf, sourceOfImages } from '../stored-snapshot.js';

/** Filesystems of real mkfs, used by a real kernel where that needs root, damaged in known places. */

const isRoot = process.getuid?.() === 0;
let made: string;
let dir: string;
let store: string;
beforeAll(async () => {
  made = await makeTempDir();
  await makeExt('ext4');
  await runTool('truncate', ['-s', '300M', join(made, 'xfs.img')]);
  await runTool('mkfs.xfs', ['-q', join(made, 'xfs.img')]);
  await runTool('truncate', ['-s', '110M', join(made, 'btrfs.img')]);
  await runTool('mkfs.btrfs', ['-q', join(made, 'btrfs.img')]);
});
afterAll(() => removeTempDir(made));
beforeEach(async () => {
  dir = await makeTempDir();
  store = join(dir, 'store');
  await mkdir(store);
});
afterEach(() => removeTempDir(dir));

async function makeExt(type: string): Promise<string> {
  const image = join(made, `${type}.img`);
  await writeFile(join(made, 'file'), 'some words in a file\n'.repeat(2000));
  await writeFile(image, '');
  await runTool('mke2fs', ['-q', '-F', '-t', type, image, '32M']);
  for (const name of ['one', 'two', 'three'])
    await runTool('debugfs', ['-w', '-R', `write ${join(made, 'file')} ${name}`, image]);
  return image;
}

async function stored(name: string): Promise<string> {
  const path = join(store, 'ubd0.img');
  await runTool('cp', ['--sparse=always', join(made, `${name}.img`), path]);
  return path;
}

const debugfs = (image: string, ...commands: string[]) =>
  runTool('sh', ['-c', 'printf "%s\\n" "$@" | debugfs -w "$0"', image, ...commands]);

const optionsWith = (more: Partial<CheckOptions> = {}): CheckOptions => ({
  signal: new AbortController().signal,
  places: { configured: null, beside: null, otherwise: join(dir, 'scratch') },
  user: 'nobody',
  ...more,
});

async function check(more: Partial<CheckOptions> = {}): Promise<FilesystemRecord> {
  const [record] = await checkDisks(await source(), optionsWith(more));
  if (!record) throw new Error('a disk has a record');
  return record;
}

/** The files of the store as they are now: what was captured, damage and all. */
const source = (): Promise<RestoreSource> => sourceOfImages(store, ['ubd0.img']);

describe('a filesystem that is sound', () => {
  test.each([['ext4'], ['xfs'], ['btrfs']])('%s, is found so by its checker', async (name) => {
    await stored(name);
    expect(await check()).toMatchObject({ disk: 'ubd0', type: name, verdict: 'sound', reason: null });
  });

  test.each([['ext2'], ['ext3']])('%s, is told from the others by its superblock', async (type) => {
    await makeExt(type);
    await stored(type);
    expect(await check()).toMatchObject({ type, verdict: 'sound' });
  });

  test('with a file that was deleted while it was open is no damage: a mount would remove it', async () => {
    const image = await stored('ext4');
    await debugfs(image, 'unlink two', 'sif <13> links_count 0', 'sif <13> dtime 0', 'ssv last_orphan 13');
    expect((await tryTool('e2fsck', ['-fn', image])).exitCode).toBe(4);
    expect(await check()).toMatchObject({ type: 'ext4', verdict: 'sound' });
  });
});

describe('damage', () => {
  const overwrite = (at: number, length: number) => async (image: string) => {
    await withOpen(image, 'r+', (file) => file.write(Buffer.alloc(length, 0x5a), 0, length, at));
  };
  const damages: [string, string, (image: string) => Promise<unknown>, RegExp][] = [
    [
      'a link count that is wrong',
      'ext4',
      (image) => debugfs(image, 'sif one links_count 7'),
      /e2fsck finds errors: .*ref count is 7, should be 1/,
    ],
    [
      'a file without its inode',
      'ext4',
      (image) => debugfs(image, 'clri two'),
      /e2fsck finds errors: .*deleted.unused inode/i,
    ],
    [
      'errors that the kernel has noted',
      'ext4',
      (image) => debugfs(image, 'ssv state 2'),
      /kernel has met errors/,
    ],
    [
      'less disk than it says',
      'ext4',
      (image) => truncate(image, 20 * 2 ** 20),
      /says that it has 33554432 bytes, and its disk has 20971520/,
    ],
    [
      'an inode tree that is none',
      'xfs',
      (image) => runTool('xfs_db', ['-x', '-c', 'agi 0', '-c', 'write -d root 77', image]),
      /xfs_repair finds errors: \S/,
    ],
    [
      'a superblock that is garbled',
      'xfs',
      overwrite(16, 100),
      /says that it has|xfs_repair finds errors: \S/,
    ],
    ['less disk than it says', 'xfs', (image) => truncate(image, 100 * 2 ** 20), /its disk has 104857600/],
    [
      'a superblock that is garbled',
      'btrfs',
      overwrite(65_536 + 400, 200),
      /btrfs check finds errors: .*checksum/,
    ],
    ['less disk than it says', 'btrfs', (image) => truncate(image, 60 * 2 ** 20), /its disk has 62914560/],
  ];

  test.each(damages)('%s, of %s, is found and explained', async (_, name, damage, expected) => {
    await damage(await stored(name));
    expect(await check()).toMatchObject({
      type: name,
      verdict: 'bad',
      reason: expect.stringMatching(expected),
    });
  });

  test('that comes with a journal to replay is found all the same', async (context) => {
    if (!canLoopMount('ext4')) return context.skip('needs root and loop devices');
    const write = `write ${join(made, 'file')} one`;
    const image = await inUse('ext4', (fresh) => debugfs(fresh, write, 'sif one links_count 7'));
    expect((await runTool('dumpe2fs', ['-h', image])).toString()).toMatch(/needs_recovery/);
    expect(await check()).toMatchObject({
      ...{ verdict: 'bad', reason: expect.stringContaining('ref count is 7, should be 1') },
    });
  });
});

/** A filesystem that its kernel had mounted and was writing to when it was captured. */
async function inUse(
  type: 'ext4' | 'xfs',
  prepare: (image: string) => Promise<unknown> = async () => {},
): Promise<string> {
  const filesystem: LoopFilesystem = await mountLoopFilesystem({
    type,
    sizeMiB: type === 'xfs' ? 300 : 32,
    prepare,
  });
  try {
    await mkdir(join(filesystem.mountPoint, 'dir'));
    for (let count = 0; count < 100; count += 1)
      await writeFile(join(filesystem.mountPoint, 'dir', `f${count}`), `${count}`);
    const held = await openFile(join(filesystem.mountPoint, 'held'), 'w');
    try {
      await runTool('rm', [join(filesystem.mountPoint, 'held')]);
      await runTool('sync', ['-f', filesystem.mountPoint]);
      const path = join(store, 'ubd0.img');
      await runTool('cp', ['--sparse=always', filesystem.image, path]);
      return path;
    } finally {
      await held.close();
    }
  } finally {
    await filesystem.remove();
  }
}

describe('a disk that was in use', () => {
  test('needs its journal replayed, on the copy: then it is sound, and the snapshot as it was', async (context) => {
    if (!canLoopMount('ext4')) return context.skip('needs root and loop devices');
    const image = await inUse('ext4');
    expect((await runTool('dumpe2fs', ['-h', image])).toString()).toMatch(/needs_recovery/);
    const before = await lookOf(image);
    expect(await check()).toMatchObject({ type: 'ext4', verdict: 'sound' });
    expect(await lookOf(image)).toEqual(before);
  });

  test('is not called sound where only a mount could replay the log, nor damaged', async (context) => {
    if (!canLoopMount('xfs')) return context.skip('needs root and loop devices');
    await inUse('xfs');
    const found = await check();
    expect(['sound', 'unproven']).toContain(found.verdict);
    if (found.verdict === 'unproven') expect(found.reason).toMatch(/log is not replayed/);
    expect(found.output).toMatch(/metadata changes in a log/);
  });
});

async function lookOf(path: string) {
  const { mtimeNs, ctimeNs, size, blocks } = await stat(path, { bigint: true });
  return { mtimeNs, ctimeNs, size, blocks, sum: (await runTool('sha256sum', [path])).toString() };
}

describe('what is no filesystem that we know', () => {
  const images: [string, string, (path: string) => Promise<unknown>, string | null][] = [
    ['an empty disk', 'empty', async () => {}, null],
    ['swap', 'swap', (path) => runTool('mkswap', ['-q', path]), null],
    [
      'random bytes',
      'unknown',
      (path) =>
        runTool('dd', ['if=/dev/urandom', `of=${path}`, 'bs=64k', 'count=4', 'conv=notrunc', 'status=none']),
      null,
    ],
    [
      ...(['a partition table', 'partition table (GPT)'] as const),
      (path) => withOpen(path, 'r+', (file) => file.write('EFI PART', 512)),
      'what lies in its partitions is not looked into',
    ],
    [
      ...(['an old partition table', 'partition table (MBR)'] as const),
      (path) => withOpen(path, 'r+', (file) => file.write(oldTable(), 0, 512, 0)),
      'what lies in its partitions is not looked into',
    ],
  ];

  test.each(images)('%s is told as such', async (_, type, make, reason) => {
    const path = join(store, 'ubd0.img');
    await writeFile(path, '');
    await truncate(path, 8 * 2 ** 20);
    await make(path);
    expect(await check()).toMatchObject({ type, verdict: 'none', reason, output: null });
    expect(await readdir(dir)).toEqual(['store']);
  });
});

/** One partition of Linux, a MiB in. */
function oldTable(): Buffer {
  const sector = Buffer.alloc(512);
  sector.writeUInt8(0x83, 446 + 4);
  sector.writeUInt32LE(2048, 446 + 8);
  sector.writeUInt32LE(8192, 446 + 12);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

describe('the private copy', () => {
  test('is gone afterwards, whatever was found, and so is one that a killed process had left', async () => {
    const image = await stored('ext4');
    const scratch = join(dir, 'scratch');
    await mkdir(join(scratch, '4194303-1-0badcafe'), { recursive: true });
    await writeFile(join(scratch, '4194303-1-0badcafe', 'ubd0.img'), 'left');
    await mkdir(join(scratch, 'of-the-user'));
    await check();
    expect(await readdir(scratch)).toEqual(['of-the-user']);
    await debugfs(image, 'clri two');
    expect((await check()).verdict).toBe('bad');
    await expect(check({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    expect(await readdir(scratch)).toEqual(['of-the-user']);
  });

  test('shares its blocks with the store where the store can do that, and leaves it as it was', async (context) => {
    if (!canLoopMount('xfs')) return context.skip('needs root and loop devices');
    const filesystem = await mountLoopFilesystem({ type: 'xfs', sizeMiB: 300 });
    try {
      store = filesystem.mountPoint;
      const image = await stored('ext4');
      const before = await lookOf(image);
      const beside = { directory: store, scratch: join(store, '.scratch') };
      const places = { configured: null, beside, otherwise: join(dir, 'scratch') };
      expect(await check({ places })).toMatchObject({ verdict: 'sound' });
      expect(await lookOf(image)).toEqual(before);
      expect(await readdir(join(store, '.scratch'))).toEqual([]);
      expect(await readdir(dir)).not.toContain('scratch');
    } finally {
      await filesystem.remove();
    }
  });

  test('is not begun where there is no room for it', async (context) => {
    if (!canLoopMount('ext4')) return context.skip('needs root and loop devices');
    const filesystem = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 16 });
    try {
      await stored('ext4');
      const places = { configured: join(filesystem.mountPoint, 'scratch'), beside: null, otherwise: dir };
      expect(await check({ places })).toMatchObject({
        verdict: 'notChecked',
        reason: expect.stringMatching(/MiB free, and a private copy of ubd0 takes/),
      });
      expect(await readdir(join(filesystem.mountPoint, 'scratch'))).toEqual([]);
    } finally {
      await filesystem.remove();
    }
  });

  test('is not made in a place that others could change under us', async () => {
    await stored('ext4');
    await mkdir(join(dir, 'elsewhere'));
    await runTool('ln', ['-s', join(dir, 'elsewhere'), join(dir, 'link')]);
    const places = { configured: join(dir, 'link'), beside: null, otherwise: dir };
    expect(await check({ places })).toMatchObject({
      verdict: 'notChecked',
      reason: expect.stringContaining('not a directory of ours'),
    });
  });
});

describe('a disk of two files, and one that comes as a stream', () => {
  /** A COW file of UML's own make, over an ext4. */
  async function pair(): Promise<RestoreSource> {
    const base = join(store, 'base.img');
    await runTool('cp', ['--sparse=always', join(made, 'ext4.img'), base]);
    await runTool('uml_mkcow', [join(store, 'ubd0.cow'), base]);
    const [cow, backing] = (await sourceOfImages(store, ['ubd0.cow', 'base.img'])).manifest.disks;
    if (!cow || !backing) throw new Error('there are two files');
    const { file, sizeBytes, sha256, mtime } = backing;
    const open = async (name: string) => contentOfFile(await openFile(join(store, name)));
    const disk = {
      ...cow,
      kind: 'cow' as const,
      backing: { sourcePath: base, file, sizeBytes, sha256, mtime },
    };
    return { ...sourceOf(store, [disk]), openFile: open, openBacking: open };
  }

  /** The same, as an archive gives it. */
  const streamed = (from: RestoreSource): RestoreSource => ({
    manifest: from.manifest,
    openFile: async (file) => await asStream(await from.openFile(file)),
    openBacking: async (file) => await asStream(await from.openBacking(file)),
  });

  test.each([
    ['of two files', async () => await pair()],
    ['of two files that come as streams', async () => streamed(await pair())],
    ['that comes as a stream', async () => stored('ext4').then(async () => streamed(await source()))],
  ])('%s, is checked as its guest saw it, and leaves no copy', async (_, make) => {
    expect(await checkDisks(await make(), optionsWith())).toMatchObject([{ type: 'ext4', verdict: 'sound' }]);
    expect(await readdir(join(dir, 'scratch'))).toEqual([]);
  });

  test('is bad when its header is not one of these two', async () => {
    const two = await pair();
    await withOpen(join(store, 'ubd0.cow'), 'r+', (file) => file.write(Buffer.alloc(8, 0x7f), 0, 8, 12));
    expect(await checkDisks(two, optionsWith())).toMatchObject([
      {
        type: 'COW',
        verdict: 'bad',
        reason: expect.stringContaining('not one of a backing file of 33554432'),
      },
    ]);
  });
});

async function asStream(content: ImageContent): Promise<ImageContent> {
  if (content.from === 'stream') return content;
  const bytes = await content.handle.readFile();
  async function* pieces() {
    for (let offset = 0; offset < bytes.length; offset += 65_536) {
      const data = bytes.subarray(offset, offset + 65_536);
      if (data.some((byte) => byte !== 0)) yield { offset, data };
    }
  }
  return { from: 'stream', pieces: pieces(), close: () => content.close() };
}

describe('a checker', () => {
  /** Of the processes whose working directory is below this one. */
  const lookAt = (below: string) => {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        if (!readlinkSync(`/proc/${pid}/cwd`).startsWith(below)) continue;
        const read = (name: string) => readFileSync(`/proc/${pid}/${name}`, 'utf8');
        if (!/^e2fsck\b/.test(read('comm'))) continue;
        return { status: read('status'), limits: read('limits'), environ: read('environ') };
      } catch {
        // It ended while we looked.
      }
    }
    return undefined;
  };

  test('runs as a user that owns nothing else, without privileges, within limits, and ends when it is given up', async (context) => {
    if (!isRoot) return context.skip('only root can become another user');
    await makeLargeExt4(join(store, 'ubd0.img'), 400_000);
    const abort = new AbortController();
    const checking = check({ signal: abort.signal });
    checking.catch(() => {});
    const seen = await waitFor('a checker at work', () => lookAt(join(dir, 'scratch')), { everyMs: 1 });
    abort.abort(new Error('enough'));
    await expect(checking).rejects.toThrow('enough');
    expect(lookAt(join(dir, 'scratch'))).toBeUndefined();
    expect(await readdir(join(dir, 'scratch'))).toEqual([]);
    const { uid, gid } = await nobody();
    expect(seen.status).toMatch(new RegExp(`^Uid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, 'm'));
    expect(seen.status).toMatch(new RegExp(`^Gid:\\t${gid}\\t${gid}\\t${gid}\\t${gid}$`, 'm'));
    expect(seen.status).toMatch(/^Groups:\s*$/m);
    expect(seen.status).toMatch(/^CapEff:\t0+$/m);
    expect(seen.status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(seen.limits).toMatch(/^Max address space +4294967296 /m);
    expect(seen.limits).toMatch(/^Max core file size +0 /m);
    expect(seen.limits).toMatch(new RegExp(`^Max file size +${256 * 2 ** 20} `, 'm'));
    expect(seen.environ).not.toContain('USER=');
  });

  test('of a user that there is not is not run as root instead', async (context) => {
    if (!isRoot) return context.skip('only root can become another user');
    await stored('ext4');
    for (const user of ['root', 'no-such-user']) {
      expect(await check({ user })).toMatchObject({
        verdict: 'notChecked',
        reason: expect.stringContaining(user),
      });
    }
  });

  test('prints nothing of the guest’s that would act on a terminal', async () => {
    const image = await stored('ext4');
    await debugfs(image, 'ssv volume_name \x1b]0;owned\x07', 'clri two');
    const { output, verdict } = await check();
    expect(verdict).toBe('bad');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
    expect(output).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  });
});

async function nobody(): Promise<{ uid: string; gid: string }> {
  expect(userInfo().uid).toBe(0);
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((one) => one.startsWith('nobody:'));
  const [, , uid = '', gid = ''] = line?.split(':') ?? [];
  return { uid, gid };
}

describe('a checker that can not work', () => {
  const options = () => ({ directory: dir, user: null, fileBytes: 1, signal: new AbortController().signal });

  test('because it is not installed leaves the filesystem unchecked, and says so', async () => {
    expect(await runChecker(['fsck.nothing', './file'], options())).toMatchObject({
      ...{ ended: 'otherwise', reason: 'fsck.nothing is not installed' },
    });
  });

  test('because what confines it does not let it is not taken at its exit code', async () => {
    // As setpriv, prlimit and their kin say that there is nothing to run: for e2fsck, it would mean errors.
    expect(await runChecker(['env', 'no-such-program'], options())).toMatchObject({
      ...{ ended: 'otherwise', reason: 'env could not be started' },
    });
  });

  test.each([
    ['ext4', 1, 'prlimit: failed to set the AS resource limit: Operation not permitted'],
    ['ext4', 8, 'e2fsck: unable to set superblock flags: Permission denied'],
    ['ext4', 12, 'e2fsck: Memory allocation failed in the check of a corrupt inode'],
    ['xfs', 1, 'setrlimit failed - current: -1, max: -1'],
    ['btrfs', 1, "ERROR: cannot open './ubd0.img': Input/output error"],
  ] as const)('says nothing of the %s, whatever it exits with (%i)', async (type, exitCode, output) => {
    const filesystem = { type, sizeBytes: null, ext: null };
    const ext = {
      hasJournal: true,
      needsRecovery: false,
      hasOrphans: false,
      isClean: true,
      hasErrors: false,
    };
    const what = type === 'ext4' ? { ...filesystem, ext } : filesystem;
    const said = async () => ({ ended: 'byItself' as const, exitCode, output });
    expect(await checkFilesystem(what, 1, './ubd0.img', said)).toMatchObject({
      ...{ verdict: 'notChecked', reason: expect.stringMatching(/^its checker gave up: \S/) },
    });
  });
});
