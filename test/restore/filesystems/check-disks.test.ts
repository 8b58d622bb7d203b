import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemRecord } from '../../../src/history/records.js';
import type { ImageContent } from '../../../src/image/image-content.js';
import { type CheckOptions, checkDisks } from '../../../src/restore/filesystems/check-disks.js';
import { checkFilesystem } from '../../../src/restore/filesystems/check-filesystem.js';
import { runChecker } from '../../../src/restore/filesystems/checker-process.js';
import { checkerSandbox } from '../../../src/restore/filesystems/checker-sandbox.js';
import { withScratch } from '../../../src/restore/filesystems/scratch.js';
import type { RestoreSource } from '../../../src/restore/restore-source.js';
import { withInjected } from '../../capture/traced.js';
import { sha256sum, withOpen } from '../../image/make-image.js';
import { bytesOf } from '../../store/capture-of-tests.js';
import { storeAt } from '../../store/fresh-store.js';
import { contentIn, type ImageSpec, sealSparse } from '../../store/sparse-snapshots.js';
import { boxedRunning, readOrNothing } from '../../support/guest-processes.js';
import { debugfs } from '../../support/inspect-image.js';
import { canLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { runTool, tryTool } from '../../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';
import { tempDirOfFile } from '../../support/temp-dir-of-file.js';
import { waitFor } from '../../support/wait-for.js';

/** Filesystems of real mkfs, used by a real kernel where that needs root, damaged in known places. */

const isRoot = process.getuid?.() === 0;
const made = tempDirOfFile();
let dir: string;
let given: string;
/** The only disk of the snapshot, damage and all, until it is sealed. */
let image: string;
beforeAll(async () => {
  await writeFile(join(made, 'file'), 'some words in a file\n'.repeat(2000));
  const write = ['one', 'two', 'three'].map((name) => `write ${join(made, 'file')} ${name}`);
  const sizes = { ext2: '32M', ext3: '32M', ext4: '32M', xfs: '300M', btrfs: '110M' };
  for (const [type, size] of Object.entries(sizes)) {
    const path = join(made, `${type}.img`);
    await runTool('truncate', ['-s', size, path]);
    await runTool(`mkfs.${type}`, ['-q', path]);
    if (type.startsWith('ext')) await debugfs(path, ...write);
  }
});
beforeEach(async () => {
  dir = await makeTempDir();
  given = join(dir, 'given');
  await mkdir(given);
  image = join(given, 'disk.img');
});
afterEach(() => removeTempDir(dir));

const copied = (from: string, to = image) => runTool('cp', ['--sparse=always', from, to]);
const copiedMade = (type: string, to?: string) => copied(join(made, `${type}.img`), to);

/** A snapshot of one disk in a store of its own. */
async function sealed(disk: ImageSpec = { from: image }, path?: string): Promise<RestoreSource> {
  const store = storeAt(path ?? (await makeTempDir(given)));
  await store.prepare(null);
  const { snapshot } = await sealSparse(store, 'debian@20260102T030405Z', { ubd0: disk });
  return await contentIn(store, snapshot);
}

async function check(more: Partial<CheckOptions> = {}, source?: RestoreSource): Promise<FilesystemRecord> {
  const places = { configured: null, beside: null, otherwise: join(dir, 'scratch') };
  const options = { signal: new AbortController().signal, places, user: 'nobody', ...more };
  const [record, ...others] = await checkDisks(source ?? (await sealed()), options);
  if (!record || others.length > 0) throw new Error('a disk has a record');
  return record;
}

describe('a filesystem that is sound', () => {
  test.each(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs'])(
    '%s, is told from the others, and found so by its checker',
    async (type) => {
      await copiedMade(type);
      expect(await check()).toMatchObject({ disk: 'ubd0', type, verdict: 'sound', reason: null });
    },
  );

  test('with a file that was deleted while it was open is no damage: a mount would remove it', async () => {
    await copiedMade('ext4');
    await debugfs(image, 'unlink two', 'sif <13> links_count 0', 'sif <13> dtime 0', 'ssv last_orphan 13');
    expect((await tryTool('e2fsck', ['-fn', image])).exitCode).toBe(4);
    expect(await check()).toMatchObject({ type: 'ext4', verdict: 'sound' });
  });
});

describe('damage', () => {
  const edited = (command: string) => () => debugfs(image, command);
  const cutTo = (mebibytes: number) => () => truncate(image, mebibytes * 2 ** 20);
  const overwrite = (at: number, length: number) => () =>
    withOpen(image, 'r+', (file) => file.write(Buffer.alloc(length, 0x5a), 0, length, at));
  const noInodeTree = () => runTool('xfs_db', ['-x', '-c', 'agi 0', '-c', 'write -d root 77', image]);
  const less = 'less disk than it says';
  type Damage = [what: string, type: string, damage: () => Promise<unknown>, reason: RegExp];

  test.each<Damage>([
    [
      'a wrong link count',
      'ext4',
      edited('sif one links_count 7'),
      /^e2fsck finds errors: .*ref count is 7, should be 1/,
    ],
    ['a file without its inode', 'ext4', edited('clri two'), /e2fsck finds errors: .*deleted.unused inode/i],
    ['errors that the kernel has noted', 'ext4', edited('ssv state 2'), /kernel has met errors/],
    [less, 'ext4', cutTo(20), /says that it has 33554432 bytes, and its disk has 20971520/],
    ['an inode tree that is none', 'xfs', noInodeTree, /xfs_repair finds errors: \S/],
    ['a garbled superblock', 'xfs', overwrite(16, 100), /says that it has|xfs_repair finds errors: \S/],
    [less, 'xfs', cutTo(100), /its disk has 104857600/],
    ['a garbled superblock', 'btrfs', overwrite(65_936, 200), /btrfs check finds errors: .*checksum/],
    [less, 'btrfs', cutTo(60), /its disk has 62914560/],
  ])('%s, of %s, is found and explained', async (_, type, damage, expected) => {
    await copiedMade(type);
    await damage();
    const reason = expect.stringMatching(expected);
    expect(await check()).toMatchObject({ type, verdict: 'bad', reason });
  });

  test('that comes with a journal to replay is found all the same', async (context) => {
    if (!canLoopMount('ext4')) return context.skip('needs root and loop devices');
    const write = `write ${join(made, 'file')} one`;
    await inUse('ext4', (fresh) => debugfs(fresh, write, 'sif one links_count 7'));
    expect((await runTool('dumpe2fs', ['-h', image])).toString()).toMatch(/needs_recovery/);
    const reason = expect.stringContaining('ref count is 7, should be 1');
    expect(await check()).toMatchObject({ verdict: 'bad', reason });
  });
});

/** Copies a filesystem that its kernel had mounted and was writing to when it was copied. */
async function inUse(type: 'ext4' | 'xfs', prepare: (image: string) => Promise<unknown> = async () => {}) {
  const sizeMiB = type === 'xfs' ? 300 : 32;
  await withLoopFilesystem({ type, sizeMiB, prepare }, async (mountPoint, filesystem) => {
    await mkdir(join(mountPoint, 'dir'));
    for (let count = 0; count < 100; count += 1)
      await writeFile(join(mountPoint, 'dir', `f${count}`), `${count}`);
    await withOpen(join(mountPoint, 'held'), 'w', async () => {
      await rm(join(mountPoint, 'held'));
      await runTool('sync', ['-f', mountPoint]);
      await copied(filesystem.image);
    });
  });
}

test('a disk that was in use needs its journal replayed, on the copy: then it is sound, and the snapshot as it was', async (context) => {
  if (!canLoopMount('ext4')) return context.skip('needs root and loop devices');
  await inUse('ext4');
  expect((await runTool('dumpe2fs', ['-h', image])).toString()).toMatch(/needs_recovery/);
  const source = await sealed({ from: image }, join(dir, 'store'));
  expect(await check({}, source)).toMatchObject({ type: 'ext4', verdict: 'sound' });
  const stored = join(dir, 'store/debian/20260102T030405Z/ubd0.img');
  expect(await sha256sum(stored)).toBe(await sha256sum(image));
});

test('a disk that was in use is not called sound where only a mount could replay the log, nor damaged', async (context) => {
  if (!canLoopMount('xfs')) return context.skip('needs root and loop devices');
  await inUse('xfs');
  const found = await check();
  expect(['sound', 'unproven']).toContain(found.verdict);
  if (found.verdict === 'unproven') expect(found.reason).toMatch(/log is not replayed/);
  expect(found.output).toMatch(/metadata changes in a log/);
});

describe('what is no filesystem that we know', () => {
  const table = 'what lies in its partitions is not looked into';
  const write = (bytes: Buffer, at: number) => () =>
    withOpen(image, 'r+', (file) => file.write(bytes, 0, bytes.length, at));
  /** One partition of Linux, a MiB in. */
  const oldTable = Buffer.from(`000000008300000000080000002000${'00'.repeat(49)}55aa`, 'hex');

  test.each<[what: string, type: string, make: () => Promise<unknown>, reason: string | null]>([
    ['an empty disk', 'empty', async () => {}, null],
    ['swap', 'swap', () => runTool('mkswap', ['-q', image]), null],
    ['random bytes', 'unknown', write(randomBytes(262_144), 0), null],
    ['a partition table', 'partition table (GPT)', write(Buffer.from('EFI PART'), 512), table],
    ['an old partition table', 'partition table (MBR)', write(oldTable, 446), table],
  ])('%s is told as such', async (_, type, make, reason) => {
    await writeFile(image, '');
    await truncate(image, 8 * 2 ** 20);
    await make();
    expect(await check()).toMatchObject({ type, verdict: 'none', reason, output: null });
    expect(await readdir(dir)).toEqual(['given']);
  });
});

describe('the private copy', () => {
  test('is gone afterwards, whatever was found, and so is one that a killed process had left', async () => {
    await copiedMade('ext4');
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
    await withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, async (mountPoint) => {
      await copiedMade('ext4');
      const source = await sealed({ from: image }, mountPoint);
      const stored = join(mountPoint, 'debian', '20260102T030405Z', 'ubd0.img');
      const look = async () => {
        const { mtimeNs, ctimeNs, size, blocks } = await stat(stored, { bigint: true });
        return { mtimeNs, ctimeNs, size, blocks, sum: await sha256sum(stored) };
      };
      const before = await look();
      const scratch = join(mountPoint, '.scratch');
      const beside = { directory: mountPoint, scratch };
      const places = { configured: null, beside, otherwise: join(dir, 'scratch') };
      expect(await check({ places }, source)).toMatchObject({ verdict: 'sound' });
      expect(await look()).toEqual(before);
      expect(await readdir(scratch)).toEqual([]);
      expect(await readdir(dir)).not.toContain('scratch');
    });
  });

  test('is not begun where there is no room for it', async (context) => {
    if (!canLoopMount('ext4')) return context.skip('needs root and loop devices');
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 16 }, async (mountPoint) => {
      await copiedMade('ext4');
      const scratch = join(mountPoint, 'scratch');
      const reason = expect.stringMatching(/MiB free, and a private copy of ubd0 takes/);
      const found = await check({ places: { configured: scratch, beside: null, otherwise: dir } });
      expect(found).toMatchObject({ verdict: 'notChecked', reason });
      expect(await readdir(scratch)).toEqual([]);
    });
  });

  test('is out of reach for other programs of the checkers’ user, also in a place that lets anybody in', async (context) => {
    if (!isRoot) return context.skip('needs root');
    const place = join(dir, 'scratch');
    for (const path of [dir, place]) await mkdir(path, { recursive: true }).then(() => chmod(path, 0o755));
    const own = { uid: 65_534, gid: 65_534 };
    await withScratch(place, own, async (scratch) => {
      expect(await stat(scratch)).toMatchObject(own);
      const asOwner = ['--reuid=65534', '--regid=65534', '--clear-groups'];
      expect(await tryTool('setpriv', [...asOwner, 'ls', place])).toMatchObject({ exitCode: 0 });
      expect(await tryTool('setpriv', [...asOwner, 'ls', scratch])).not.toMatchObject({ exitCode: 0 });
    });
    expect(await readdir(place)).toEqual([]);
  });

  test('is not made in a place that others could change under us', async () => {
    await copiedMade('ext4');
    await mkdir(join(dir, 'elsewhere'));
    await symlink(join(dir, 'elsewhere'), join(dir, 'link'));
    const reason = expect.stringContaining('is a symbolic link');
    const found = await check({ places: { configured: join(dir, 'link'), beside: null, otherwise: dir } });
    expect(found).toMatchObject({ verdict: 'notChecked', reason });
  });
});

describe('a disk of two files, and one that comes as a stream', () => {
  /** A COW file of UML's own make, over an ext4. */
  async function pair() {
    const [cow, base] = [join(given, 'disk.cow'), join(given, 'base.img')];
    await copiedMade('ext4', base);
    await runTool('uml_mkcow', [cow, base]);
    return { from: cow, backing: base };
  }

  /** The same, as an archive gives it. */
  const streamed = ({ manifest, openFile, openBacking }: RestoreSource): RestoreSource => ({
    manifest,
    openFile: async (file) => asStream(await bytesOf(await openFile(file))),
    openBacking: async (file) => asStream(await bytesOf(await openBacking(file))),
  });

  test.each([
    ['of two files', async () => await sealed(await pair())],
    ['of two files that come as streams', async () => streamed(await sealed(await pair()))],
    ['that comes as a stream', async () => copiedMade('ext4').then(async () => streamed(await sealed()))],
  ])('%s, is checked as its guest saw it, and leaves no copy', async (_, make) => {
    expect(await check({}, await make())).toMatchObject({ type: 'ext4', verdict: 'sound' });
    expect(await readdir(join(dir, 'scratch'))).toEqual([]);
  });

  test('is bad when its header is not one of these two', async () => {
    const two = await pair();
    await withOpen(two.from, 'r+', (file) => file.write(Buffer.alloc(8, 0x7f), 0, 8, 12));
    const reason = expect.stringContaining('not one of a backing file of 33554432');
    expect(await check({}, await sealed(two))).toMatchObject({ type: 'COW', verdict: 'bad', reason });
  });
});

function asStream(bytes: Buffer): ImageContent {
  async function* pieces() {
    for (let offset = 0; offset < bytes.length; offset += 65_536) {
      const data = bytes.subarray(offset, offset + 65_536);
      if (data.some((byte) => byte !== 0)) yield { offset, data };
    }
  }
  return { from: 'stream', pieces: pieces(), close: async () => {} };
}

async function inBox(command: [string, ...string[]]) {
  const { signal } = new AbortController();
  const box = await checkerSandbox(dir, null, signal);
  return await runChecker(command, { directory: dir, user: null, sandbox: box, fileBytes: 1, signal });
}

describe('a checker', () => {
  test('sees of the host the system’s programs and its copy, and nothing else', async () => {
    const seen = await inBox(['sh', '-c', 'ls -d /* && ls']);
    const words = 'output' in seen ? seen.output.split(/\s+/) : [];
    expect(words).toEqual(expect.arrayContaining(['/usr', '/check', 'given']));
    for (const word of ['/etc', '/home', '/root', '/proc', '/tmp', '/var']) expect(words).not.toContain(word);
  });

  test('works without a box where there can be none, and that is said', async () => {
    await copiedMade('ext4');
    const { arch } = process;
    Object.defineProperty(process, 'arch', { value: 'riscv64' });
    try {
      const reason = expect.stringMatching(/in no box: .*riscv64/);
      expect(await check()).toMatchObject({ verdict: 'sound', reason });
    } finally {
      Object.defineProperty(process, 'arch', { value: arch });
    }
  });

  const lookAtIt = () => {
    const pid = boxedRunning('e2fsck') ?? 0;
    const read = (name: string) => readOrNothing(`/proc/${pid}/${name}`);
    const [environ, status, limits] = [read('environ'), read('status'), read('limits')];
    return status === '' || limits === '' ? undefined : { pid, environ, status, limits };
  };

  test('runs as a user that owns nothing else, without privileges, within limits, and ends when it is given up', async (context) => {
    if (!isRoot) return context.skip('only root can become another user');
    await copiedMade('ext4');
    const abort = new AbortController();
    // It stands still as soon as it is one.
    const held = ['execve:signal=STOP'];
    const givenUp = async () => {
      const checking = check({ signal: abort.signal });
      checking.catch(() => {});
      const seen = await waitFor('a checker at work', lookAtIt);
      abort.abort(new Error('enough'));
      process.kill(seen.pid, 'SIGCONT');
      return { checking, seen };
    };
    const { checking, seen } = await withInjected(process.pid, held, givenUp, '/usr/sbin/e2fsck');
    await expect(checking).rejects.toThrow('enough');
    await waitFor('its end', () => readOrNothing(`/proc/${seen.pid}/status`) === '');
    expect(await readdir(join(dir, 'scratch'))).toEqual([]);
    const [uid, gid] = await Promise.all(['-u', '-g'].map((which) => runTool('id', [which, 'nobody'])));
    expect(seen.status).toMatch(new RegExp(`^Uid:(\\t${String(uid).trim()}){4}$`, 'm'));
    expect(seen.status).toMatch(new RegExp(`^Gid:(\\t${String(gid).trim()}){4}$`, 'm'));
    expect(seen.status).toMatch(/^Groups:\s*$/m);
    expect(seen.status).toMatch(/^CapEff:\t0+$/m);
    expect(seen.status).toMatch(/^CapBnd:\t0+$/m);
    expect(seen.status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(seen.status).toMatch(/^Seccomp:\t2$/m);
    expect(seen.limits).toMatch(/^Max address space +4294967296 /m);
    expect(seen.limits).toMatch(/^Max core file size +0 /m);
    expect(seen.limits).toMatch(new RegExp(`^Max file size +${32 * 2 ** 20} `, 'm'));
    expect(seen.environ).not.toContain('USER=');
  });

  test('of a user that there is not is not run as root instead', async (context) => {
    if (!isRoot) return context.skip('only root can become another user');
    await copiedMade('ext4');
    for (const user of ['root', 'no-such-user']) {
      const reason = expect.stringContaining(user);
      expect(await check({ user })).toMatchObject({ verdict: 'notChecked', reason });
    }
  });

  test('prints nothing of the guest’s that would act on a terminal', async () => {
    await copiedMade('ext4');
    await debugfs(image, 'ssv volume_name \x1b]0;owned\x07', 'clri two');
    const { output, verdict } = await check();
    expect(verdict).toBe('bad');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
    expect(output).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  });
});

describe('a checker that can not work', () => {
  test.each<[why: string, command: [string, ...string[]], reason: string]>([
    ['it is not installed', ['fsck.nothing', './file'], 'fsck.nothing is not installed'],
    // As setpriv, prlimit and their kin say that there is nothing to run: for e2fsck, the exit code would mean errors.
    ['what confines it does not let it', ['env', 'no-such-program'], 'env could not be started'],
    ['a signal ends it', ['sh', '-c', 'kill -SEGV $$'], 'sh: it was ended by SIGSEGV'],
  ])('because %s leaves the filesystem unchecked, and says so', async (_, command, reason) => {
    expect(await inBox(command)).toMatchObject({ ended: 'otherwise', reason });
  });

  test.each([
    ['ext4', 1, 'prlimit: failed to set the AS resource limit: Operation not permitted'],
    ['ext4', 8, 'e2fsck: unable to set superblock flags: Permission denied'],
    ['ext4', 12, 'e2fsck: Memory allocation failed in the check of a corrupt inode'],
    ['xfs', 1, 'setrlimit failed - current: -1, max: -1'],
    ['btrfs', 1, "ERROR: cannot open './ubd0.img': Input/output error"],
  ] as const)('says nothing of the %s, whatever it exits with (%i)', async (type, exitCode, output) => {
    const journal = { hasJournal: true, needsRecovery: false };
    const ext = { ...journal, hasOrphans: false, isClean: true, hasErrors: false };
    const what = { type, sizeBytes: null, ext: type === 'ext4' ? ext : null };
    const said = async () => ({ ended: 'byItself' as const, exitCode, output });
    const reason = expect.stringMatching(/^its checker gave up: \S/);
    const found = await checkFilesystem(what, 1, './ubd0.img', said);
    expect(found).toMatchObject({ verdict: 'notChecked', reason });
  });
});
