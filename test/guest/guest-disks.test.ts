import { copyFile, link, mkdir, open, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkDiskClaim, hasCowHeader } from '../../src/guest/guest-disks.js';
import type { ProcessIdentity } from '../../src/process-identity.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir, withTempDir } from '../support/temp-dir.js';
import { type DiskHolder, holdDisks } from './disk-holder.js';

let dir: string;
let disk: string;
let guest: DiskHolder;
let main: ProcessIdentity;

beforeAll(async () => {
  dir = await makeTempDir();
  disk = join(dir, 'root.img');
  await writeFile(disk, 'a disk');
  await copyFile(disk, join(dir, 'copy.img'));
  await runTool('mkfifo', [join(dir, 'pipe')]);
  await symlink('b', join(dir, 'a'));
  await symlink('a', join(dir, 'b'));
  guest = await holdDisks([{ path: disk, mode: 'r+' }], { cwd: dir });
  main = { pid: guest.pid, startTicks: 0 };
});
afterAll(async () => {
  await guest.end();
  await removeTempDir(dir);
});

/** Holds what a guest says of its raw disk against the config's `root.img`. */
const claimRaw = async (reported: string, by = main) =>
  checkDiskClaim(by, {
    guest: 'debian',
    disk: { device: 'ubd0', path: disk },
    reported,
    file: await stat(disk),
  });

const mismatch = (problem: RegExp) => ({
  code: 'DiskMismatch',
  facts: { guest: 'debian', device: 'ubd0', problem: expect.stringMatching(problem) },
});

describe('what a guest says of its raw disk', () => {
  test('is true by whatever name leads to the same file', async () => {
    await symlink(disk, join(dir, 'link'));
    await link(disk, join(dir, 'hard'));
    for (const name of [disk, 'root.img', './root.img', 'link', join(dir, 'hard')]) await claimRaw(name);
  });

  test.each([
    ['nothing', '', /no such disk/],
    ['a name that leads nowhere', 'gone.img', /different files/],
    ['a directory', '.', /different files/],
    ['a name with a NUL', 'root.img\0', /different files/],
    ['a name longer than any', 'x'.repeat(5000), /different files/],
    ['a COW pair', 'root.img,backing.img', /COW/],
    ['three files', 'root.img,b,c', /more than two/],
    ['another file, be it the same to the byte', 'copy.img', /different files/],
    ['a FIFO, which is never waited for', 'pipe', /different files/],
    ['a symlink into a loop', 'a', /different files/],
  ])('is refused when it is %s', async (_, reported, problem) => {
    await expect(claimRaw(reported)).rejects.toMatchObject(mismatch(problem));
  });

  test('is refused when the guest that would know a relative name is gone', async () => {
    const gone = await holdDisks([{ path: disk, mode: 'r+' }], { cwd: dir });
    await gone.end();
    const claimed = claimRaw('root.img', { pid: gone.pid, startTicks: 0 });
    await expect(claimed).rejects.toMatchObject(mismatch(/different files/));
  });
});

describe('what a guest says of its COW disk', () => {
  const claimCow = async (reported: string) => {
    const backing = join(dir, 'base.img');
    await writeFile(backing, 'base');
    await mkdir(join(dir, 'elsewhere'), { recursive: true });
    await writeFile(join(dir, 'elsewhere/base.img'), 'base');
    return checkDiskClaim(main, {
      guest: 'debian',
      disk: { device: 'ubd0', path: disk, backing },
      reported,
      file: await stat(disk),
      backing: await stat(backing),
    });
  };

  test('is true for the pair of the config', async () => {
    await claimCow('root.img,base.img');
  });

  test.each([
    ['it has no backing file', 'root.img', /raw disk/],
    ['it has another backing file', 'root.img,elsewhere/base.img', /different backing/],
    ['its COW file is another', 'base.img,base.img', /different files/],
    ['its backing file has no name', 'root.img,', /different backing/],
  ])('is refused when %s', async (_, reported, problem) => {
    await expect(claimCow(reported)).rejects.toMatchObject(mismatch(problem));
  });
});

describe('a COW header', () => {
  const headOf = (head: Buffer) =>
    withTempDir(async (home) => {
      await writeFile(join(home, 'f'), head);
      const file = await open(join(home, 'f'));
      return hasCowHeader(file).finally(() => file.close());
    });

  test('is one with its magic and a version that UML opens', async () => {
    const word = (...words: number[]) => {
      const head = Buffer.alloc(4 * words.length);
      for (const [n, value] of words.entries()) head.writeUInt32BE(value, 4 * n);
      return head;
    };
    expect(await headOf(word(0x4f4f4f4d, 2))).toBe(true);
    expect(await headOf(word(0x4f4f4f4d, 3, 0))).toBe(true);
    expect(await headOf(word(0x4f4f4f4d, 1))).toBe(false);
    expect(await headOf(word(0x4d4f4f4f, 3))).toBe(false);
    expect(await headOf(word(0x4f4f4f4d))).toBe(false);
    expect(await headOf(Buffer.alloc(0))).toBe(false);
  });
});
