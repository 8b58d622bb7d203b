import { link, mkdir, rename, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { describeChange, openDisk, stampOf } from '../../src/image/open-disk.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await makeTempDir();
  path = join(dir, 'root.img');
});
afterEach(() => removeTempDir(dir));

test.each<[string, RegExp, () => unknown, string?]>([
  ['a symbolic link to any file of the host (fault 70)', /symbolic link/, () => symlink('/etc/shadow', path)],
  ['a FIFO, to be waited for (fault 70)', /not a regular file/, () => runTool('mkfifo', [path])],
  ['a directory', /not a regular file/, () => mkdir(path)],
  ['a device', /not a regular file/, () => {}, '/dev/null'],
  [
    'a file with a second name, under which it may be anything (fault 70)',
    /2 names/,
    () => writeFile(path, 'disk').then(() => link(path, join(dir, 'other'))),
  ],
  ['missing', /does not exist/, () => {}],
])('a disk is not opened that is %s', async (_, problem, make, disk = path) => {
  await make();
  await expect(openDisk('debian', 'ubd0', disk)).rejects.toMatchObject({
    ...{ code: 'DiskUnusable', facts: { problem: expect.stringMatching(problem) } },
  });
});

test.each([
  ['a write', () => writeFile(path, 'same', { flag: 'r+' }), /written to/],
  ['a write that hides behind an old mtime', () => utimes(path, 0, 0), /written to|inode/],
  ['growth', () => truncate(path, 100), /from 4 to 100 bytes/],
  ['shrinking', () => truncate(path, 1), /from 4 to 1 bytes/],
  [
    'a file renamed over it',
    () => writeFile(`${path}.new`, 'same').then(() => rename(`${path}.new`, path)),
    /inode/,
  ],
])('the stamp of an open disk tells %s', async (_, change, expected) => {
  await writeFile(path, 'same');
  const disk = await openDisk('debian', 'ubd0', path);
  try {
    expect(describeChange(disk.stamp, await stampOf(disk.handle.fd))).toBeNull();
    // Timestamps step by jiffies: two within one are the same.
    await new Promise((resolve) => void setTimeout(resolve, 20));
    await change();
    expect(describeChange(disk.stamp, await stampOf(disk.handle.fd))).toMatch(expected);
  } finally {
    await disk.handle.close();
  }
});
