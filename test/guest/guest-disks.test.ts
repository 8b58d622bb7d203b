import { copyFile, link, mkdir, open, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkDiskClaim, hasCowHeader } from '../../src/guest/guest-disks.js';
import type { ProcessIdentity } from '../../src/process-identity.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { type DiskHolder, holdDisks } from './disk-holder.js';

let dir: string;
let guest: DiskHolder;
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
  await symlink('b', pathOf('a'));
  await symlink('a', pathOf('b'));
  guest = await holdDisks([{ path: pathOf('root.img'), mode: 'r+' }], { cwd: dir });
  main = { pid: guest.pid, startTicks: 0 };
});
afterAll(async () => {
  await guest.end();
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
    ['a symlink into a loop', 'a', /different files/],
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
