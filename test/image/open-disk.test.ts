import { link, mkdir, rename, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isError } from '../../src/errors.js';
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

async function refusal(): Promise<string> {
  const thrown: unknown = await openDisk('debian', 'ubd0', path).catch((error: unknown) => error);
  if (isError(thrown, 'DiskUnusable')) return thrown.facts.problem;
  throw new Error(`no refusal: ${String(thrown)}`);
}

describe('a disk is not opened', () => {
  test('through a symbolic link, which the guest could point at any file of the host', async () => {
    await symlink('/etc/shadow', path);
    expect(await refusal()).toMatch(/symbolic link/);
  });

  test('when it is a FIFO, whose opening would wait for ever', async () => {
    await runTool('mkfifo', [path]);
    expect(await refusal()).toMatch(/not a regular file/);
  });

  test('when it is a directory or a device', async () => {
    await mkdir(path);
    expect(await refusal()).toMatch(/not a regular file/);
    path = '/dev/null';
    expect(await refusal()).toMatch(/not a regular file/);
  });

  test('when it has a second name, under which it may be anything', async () => {
    await writeFile(path, 'disk');
    await link(path, join(dir, 'other'));
    expect(await refusal()).toMatch(/2 names/);
  });

  test('when it is missing', async () => {
    expect(await refusal()).toMatch(/does not exist/);
  });
});

describe('the stamp of an open disk tells', () => {
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
  ])('%s', async (_, change, expected) => {
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
});
