import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withAbsoluteDisks } from '../../src/mconsole/absolute-disks.js';
import { withTempDir } from '../support/temp-dir.js';

const here = process.cwd();

test.each([
  ['config ubd3=root.img', `config ubd3=${here}/root.img`],
  ['config ubd3=a.cow,test/../b.img', `config ubd3=${here}/a.cow,${here}/b.img`],
  ['config ubd3=/nowhere-at-all/root.img', 'config ubd3=/nowhere-at-all/root.img'],
  ['config ubd3=nowhere-at-all/root.img', 'config ubd3=nowhere-at-all/root.img'],
  ['config ubd3=', 'config ubd3='],
  ['config ubd3', 'config ubd3'],
  ['config eth0=tuntap,tap0', 'config eth0=tuntap,tap0'],
  ['log config ubd3=root.img', 'log config ubd3=root.img'],
])('%s', async (command, sent) => {
  expect(await withAbsoluteDisks(command)).toBe(sent);
});

test('a directory behind a link is named as what it is, for the guest may see it elsewhere', async () => {
  await withTempDir(async (dir) => {
    await mkdir(join(dir, 'real'));
    await symlink('real', join(dir, 'link'));
    expect(await withAbsoluteDisks(`config ubd1=${dir}/link/a.img`)).toBe(`config ubd1=${dir}/real/a.img`);
  });
});
