import { chmod, chown, lchown, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { followPath } from '../../src/config/follow-links.js';
import { openDisk } from '../../src/image/open-disk.js';
import { HeldDirectory } from '../../src/path/held-directory.js';
import { requireOwnPlace } from '../../src/path/own-place.js';
import { neighbour } from '../neighbours/swapper.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';

/** Whom the parts of a path belong to, and what follows from that. */

const dir = tempDirOfFile();
let place: string;
let count = 0;
beforeEach(async () => {
  count += 1;
  place = join(dir, String(count));
  await mkdir(join(place, 'vm'), { recursive: true });
  await writeFile(join(place, 'vm/root.img'), 'disk');
});

const open = async (path = join(place, 'vm/root.img')) =>
  (await openDisk('debian', 'ubd0', path)).handle.close();
const refusal = (matching: RegExp) => ({
  ...{ code: 'DiskUnusable', facts: { problem: expect.stringMatching(matching) } },
});

describe.skipIf(process.getuid?.() !== 0)('a disk is opened (needs root)', () => {
  test("in its owner's own directories, and in none of another user's", async () => {
    await open();
    await chown(place, neighbour, -1);
    const stranger = `${place} belongs to user ${neighbour}, who is neither root nor ourselves`;
    await expect(open()).rejects.toMatchObject(refusal(new RegExp(stranger)));
    await chown(join(place, 'vm/root.img'), neighbour, -1);
    await open();
    await chown(join(place, 'vm'), 1234, -1);
    await expect(open()).rejects.toMatchObject(refusal(/vm belongs to user 1234/));
  });

  test('in no directory of root where others can rename what is there, unless only what is their own', async () => {
    // Also of root's group: those bits are where an access list shows.
    for (const [mode, gid] of [
      [0o777, 0],
      [0o775, neighbour],
      [0o775, 0],
    ] as const) {
      await chown(join(place, 'vm'), 0, gid);
      await chmod(join(place, 'vm'), mode);
      await expect(open(), mode.toString(8)).rejects.toMatchObject(refusal(/no sticky bit/));
      await chmod(join(place, 'vm'), mode | 0o1000);
      await open();
    }
  });

  test('a place of ours is only ours all the way, also where it is yet to be made', async () => {
    await requireOwnPlace(join(place, 'vm'));
    await requireOwnPlace(join(place, 'vm/not/yet'));
    await chmod(join(place, 'vm'), 0o1777);
    await expect(requireOwnPlace(join(place, 'vm'))).rejects.toThrow(/can be written to by others/);
    await requireOwnPlace(join(place, 'vm/not/yet'));
    await chown(place, neighbour, -1);
    for (const path of ['vm', 'vm/not/yet'])
      await expect(requireOwnPlace(join(place, path))).rejects.toThrow(`${place} belongs to user`);
  });

  test('a link of the config is followed if only an administrator can have made it, and stays otherwise', async () => {
    const [link, relative, chained, target] = ['link', 'relative', 'chained', 'vm'].map((name) =>
      join(place, name),
    );
    await symlink(join(place, 'vm'), String(link));
    await symlink('./vm/../vm', String(relative));
    await symlink('link', String(chained));
    for (const path of [link, relative, chained]) {
      expect(await followPath(`${path}/root.img`)).toBe(`${target}/root.img`);
      expect(await followPath(`${path}/not/yet`)).toBe(`${target}/not/yet`);
    }
    await symlink('loop', join(place, 'loop'));
    expect(await followPath(join(place, 'loop/x'))).toBe(join(place, 'loop/x'));
    // Theirs, in a directory of ours where everybody may put one.
    await lchown(String(link), neighbour, -1);
    await chmod(place, 0o1777);
    expect(await followPath(`${link}/root.img`)).toBe(`${link}/root.img`);
    expect(await followPath(`${relative}/root.img`)).toBe(`${target}/root.img`);
    // Ours, in a directory of theirs.
    await chown(place, neighbour, -1);
    expect(await followPath(`${relative}/root.img`)).toBe(`${relative}/root.img`);
    // Below it everything is theirs.
    await symlink('root.img', join(place, 'vm/deep'));
    expect(await followPath(join(place, 'vm/deep'))).toBe(join(place, 'vm/deep'));
  });
});

test('what is done in a directory is done there by single names', async () => {
  const held = await HeldDirectory.open(join(place, 'vm'));
  try {
    for (const name of ['..', '.', '', 'a/b', '/etc/passwd'])
      expect(() => held.at(name)).toThrow('is no name of a file');
    await mkdir(join(place, 'vm/tree/a/b'), { recursive: true });
    await symlink(place, join(place, 'vm/tree/a/up'));
    await writeFile(Buffer.from(`${place}/vm/tree/\xff`, 'latin1'), '');
    await held.removeTree('tree');
    expect(await readdir(join(place, 'vm'))).toEqual(['root.img']);
  } finally {
    await held.close();
  }
});
