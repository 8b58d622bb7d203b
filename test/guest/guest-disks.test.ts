import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, link, mkdir, open, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkDiskClaim, hasCowHeader } from '../../src/guest/guest-disks.js';
import { findGuestProcesses } from '../../src/guest/guest-processes.js';
import { isAlive, type ProcessIdentity, readProcessStat } from '../../src/process-identity.js';
import { signalIfThere } from '../support/guest-processes.js';
import { pidOf } from '../support/pid-of.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

let dir: string;
let guest: DiskHolder;
/** Each of a disk of its own, and of none of the others'. */
let locked: DiskHolder;
let others: DiskHolder;
let main: ProcessIdentity;
const pathOf = (name: string) => join(dir, name);

beforeAll(async () => {
  dir = await makeTempDir();
  await writeFile(pathOf('root.img'), 'a disk');
  await copyFile(pathOf('root.img'), pathOf('copy.img'));
  await writeFile(pathOf('base.img'), 'base');
  await mkdir(pathOf('elsewhere'));
  await copyFile(pathOf('base.img'), pathOf('elsewhere/base.img'));
  await runTool('mkfifo', [pathOf('pipe')]);
  await symlink('back', pathOf('loop'));
  await symlink('loop', pathOf('back'));
  guest = await holdDisks([{ path: pathOf('root.img'), mode: 'r+' }], { cwd: dir });
  main = { pid: guest.pid, startTicks: 0 };
  await mkdir(pathOf('copy'));
  for (const name of ['a.img', 'c.img', 'copy/c.img']) await writeFile(pathOf(name), 'a disk');
  locked = await holdDisks([{ path: pathOf('a.img'), mode: 'r+', lock: 'write' }], { withHelper: true });
  others = await holdDisks([
    { path: pathOf('c.img'), mode: 'r' },
    { path: pathOf('c.img'), mode: 'r', lock: 'read' },
    { path: pathOf('copy/c.img'), mode: 'r+', lock: 'write' },
  ]);
});
afterAll(async () => {
  for (const holder of [guest, locked, others]) await holder.end();
  await removeTempDir(dir);
});

/** Holds what a guest says of its disk against the config's `root.img`, raw or as a COW file. */
async function claim(reported: string, { backing = '', by = main } = {}): Promise<void> {
  const cow = backing === '' ? {} : { backing: pathOf(backing) };
  await checkDiskClaim(by, {
    guest: 'debian',
    disk: { device: 'ubd0', path: pathOf('root.img'), ...cow },
    reported,
    file: await stat(pathOf('root.img')),
    ...(cow.backing !== undefined && { backing: await stat(cow.backing) }),
  });
}

const mismatch = (problem: RegExp) => ({
  code: 'DiskMismatch',
  facts: { guest: 'debian', device: 'ubd0', problem: expect.stringMatching(problem) },
});

describe('what a guest says of its disk', () => {
  const cow = { backing: 'base.img' };

  test('is true by whatever name leads to the same file, and for the pair of a COW disk', async () => {
    await symlink(pathOf('root.img'), pathOf('link'));
    await link(pathOf('root.img'), pathOf('hard'));
    for (const name of [pathOf('root.img'), 'root.img', './root.img', 'link', pathOf('hard')])
      await claim(name);
    await claim('root.img,base.img', cow);
  });

  test.each<[string, string, RegExp, { backing?: string }?]>([
    ['nothing', '', /no such disk/],
    ['a name that leads nowhere', 'gone.img', /different files/],
    ['a directory', '.', /different files/],
    ['a name with a NUL', 'root.img\0', /different files/],
    ['a name longer than any', 'x'.repeat(5000), /different files/],
    ['a COW pair', 'root.img,backing.img', /COW/],
    ['three files', 'root.img,b,c', /more than two/],
    ['another file, be it the same to the byte', 'copy.img', /different files/],
    ['a FIFO, which is never waited for', 'pipe', /different files/],
    ['a symlink into a loop', 'loop', /different files/],
    ['a raw one, where the config has a pair', 'root.img', /raw disk/, cow],
    ['another backing file', 'root.img,elsewhere/base.img', /different backing/, cow],
    ['another COW file', 'base.img,base.img', /different files/, cow],
    ['a backing file without a name', 'root.img,', /different backing/, cow],
  ])('is refused when it is %s', async (_, reported, problem, config) => {
    await expect(claim(reported, config)).rejects.toMatchObject(mismatch(problem));
  });

  test('is refused when the guest that would know a relative name is gone', async () => {
    // More than any pid can be.
    const gone = { pid: 2 ** 22, startTicks: 0 };
    await expect(claim('root.img', { by: gone })).rejects.toMatchObject(mismatch(/different files/));
  });
});

test.each([
  ['magic and version 2', '4f4f4f4d 00000002', true],
  ['magic and version 3', '4f4f4f4d 00000003 00000000', true],
  ['a version that no UML opens', '4f4f4f4d 00000001', false],
  ['the magic turned round', '4d4f4f4f 00000003', false],
  ['the magic alone', '4f4f4f4d', false],
  ['nothing', '', false],
])('a head of %s tells whether it is a COW file', async (_, head, isCow) => {
  await writeFile(pathOf('head'), Buffer.from(head.replaceAll(' ', ''), 'hex'));
  const file = await open(pathOf('head'));
  expect(await hasCowHeader(file).finally(() => file.close())).toBe(isCow);
});

const find = async (...names: string[]) =>
  findGuestProcesses(await Promise.all(names.map((name) => stat(pathOf(name)))));

describe('the guest of a disk', () => {
  test('is who holds its write lock, with the helper that he has started, and by any of its disks', async () => {
    // Anybody may write one.
    await writeFile(pathOf('pid'), `${others.pid}\n`);
    const found = await find('a.img');
    const { pid, helperPid } = locked;
    expect(found?.main).toEqual({ pid, startTicks: readProcessStat(pid)?.startTicks });
    expect(found?.holders.map((holder) => holder.pid).sort()).toEqual([pid, helperPid].sort());
    // The helper is what has to be drained; the main process, which stands in the console's receive, is not.
    expect(found?.ioTasks).toEqual([{ pid: helperPid, tid: helperPid }]);
    expect(found?.holders.every(isAlive)).toBe(true);
    expect((await find('c.img', 'a.img'))?.main.pid).toBe(pid);
  });

  test('is nobody who only reads it, such as another backup, nor who holds a copy of the same name elsewhere', async () => {
    expect(await find('c.img')).toBeUndefined();
    expect((await find('copy/c.img'))?.main.pid).toBe(others.pid);
  });

  test('is the helper that is left of it when its main process was killed, and nobody when that is gone', async () => {
    await locked.kill();
    expect((await find('a.img'))?.main.pid).toBe(locked.helperPid);
    await locked.end();
    await waitFor('nobody to hold it', async () => (await find('a.img')) === undefined);
  });
});

type DiskHolder = Awaited<ReturnType<typeof holdDisks>>;

interface Holding {
  path: string;
  mode: 'r' | 'r+';
  /** With an fcntl lock on all of it, as UML takes it unless its `c` flag is given. */
  lock?: 'read' | 'write';
}

/**
 * Starts a process that holds these files open as a guest's main process or its I/O helper does; `withHelper` makes it start a
 * child that holds them as well.
 */
async function holdDisks(holdings: Holding[], { cwd = '/', withHelper = false } = {}) {
  const words = holdings.flatMap(({ path, mode, lock = '' }) => [path, mode === 'r' ? '<' : '+<', lock]);
  const child = spawn('perl', ['-e', program, withHelper ? 'yes' : '', ...words], { cwd });
  const ended = once(child, 'exit');
  const died = ended.then(() => Promise.reject(new Error('the holder of disks ended')));
  const [line] = await Promise.race([once(child.stdout, 'data'), died]);
  const helperPid = Number(line);
  /** Kills it alone: a helper lives on, as one of a UML before 6.13 does. */
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  /** Kills it, and the helper that it has started. */
  const end = async () => {
    if (helperPid > 0) signalIfThere(helperPid, 'SIGKILL');
    await kill();
  };
  return { pid: pidOf(child), helperPid, kill, end };
}

/** It ends with whoever started it. Its helper, which outlives it, does that by itself if it is forgotten. */
const program = String.raw`
use Fcntl;
my ($withHelper, @held) = shift;
while (my ($path, $mode, $lock) = splice(@ARGV, 0, 3)) {
  open(my $file, $mode, $path) or die "$path: $!";
  push(@held, $file);
  next if $lock eq '';
  # As struct flock is on x86-64: type, whence, start, length (0: to the end), pid.
  my $all = pack('s s x4 q q l x4', $lock eq 'write' ? F_WRLCK : F_RDLCK, 0, 0, 0, 0);
  fcntl($file, F_SETLK, $all) or die "$path is locked";
}
my $helper = $withHelper ? fork() : undef;
if (defined $helper && $helper == 0) { alarm(120); sleep }
$| = 1;
print $helper // 0, "\n";
<STDIN>;
`;
