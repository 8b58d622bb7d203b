import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findGuestProcesses } from '../../src/guest/guest-processes.js';
import { isAlive, readProcessStat } from '../../src/process-identity.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { type DiskHolder, holdDisks } from './disk-holder.js';

let dir: string;
/** Each of a disk of its own, and of none of the others'. */
let locked: DiskHolder;
let others: DiskHolder;
const pathOf = (name: string) => join(dir, name);
beforeAll(async () => {
  dir = await makeTempDir();
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
  for (const holder of [locked, others]) await holder.end();
  await removeTempDir(dir);
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
    expect(found?.ioTasks).toEqual([`${helperPid}/task/${helperPid}`]);
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
