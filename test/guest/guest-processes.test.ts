import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findGuestProcesses, resolveAsGuest } from '../../src/guest/guest-processes.js';
import { isAlive, readProcessStat } from '../../src/process-identity.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { type DiskHolder, type Holding, holdDisks } from './disk-holder.js';

let dir: string;
let disk: string;
const holders: DiskHolder[] = [];

beforeEach(async () => {
  dir = await makeTempDir();
  disk = join(dir, 'root.img');
  await writeFile(disk, 'a disk');
});
afterEach(async () => {
  for (const holder of holders.splice(0)) await holder.end();
  await removeTempDir(dir);
});

async function hold(holdings: Holding[], options: Parameters<typeof holdDisks>[1] = {}): Promise<DiskHolder> {
  const holder = await holdDisks(holdings, options);
  holders.push(holder);
  return holder;
}

const find = async (...paths: string[]) =>
  findGuestProcesses(await Promise.all(paths.map((path) => stat(path))));

describe('the guest of a disk', () => {
  test('is who holds its write lock, with the helper that he has started', async () => {
    const guest = await hold([{ path: disk, mode: 'r+', lock: 'write' }], { withHelper: true });
    const found = await find(disk);
    expect(found?.main).toEqual({ pid: guest.pid, startTicks: readProcessStat(guest.pid)?.startTicks });
    expect(found?.holders.map(({ pid }) => pid).sort()).toEqual([guest.pid, guest.helperPid].sort());
    // The helper is what has to be drained; the main process, which stands in the console's receive, is not.
    expect(found?.ioTasks).toContain(`${guest.helperPid}/task/${guest.helperPid}`);
    expect(found?.ioTasks).not.toContain(`${guest.pid}/task/${guest.pid}`);
    expect(found?.holders.every(isAlive)).toBe(true);
  });

  test('is found without a lock too, as one with the flag c is', async () => {
    const guest = await hold([{ path: disk, mode: 'r+' }], { withHelper: true });
    expect((await find(disk))?.main.pid).toBe(guest.pid);
  });

  test('is the helper that is left of it when its main process was killed', async () => {
    const guest = await hold([{ path: disk, mode: 'r+', lock: 'write' }], { withHelper: true });
    await guest.kill();
    expect((await find(disk))?.main.pid).toBe(guest.helperPid);
  });

  test('is nobody who only reads it, such as another backup', async () => {
    await hold([{ path: disk, mode: 'r' }]);
    await hold([{ path: disk, mode: 'r', lock: 'read' }]);
    expect(await find(disk)).toBeUndefined();
  });

  test('is nobody who holds a copy of the same name elsewhere', async () => {
    const copy = join(dir, 'copy', 'root.img');
    await mkdir(join(dir, 'copy'));
    await writeFile(copy, 'a disk');
    await hold([{ path: copy, mode: 'r+', lock: 'write' }]);
    expect(await find(disk)).toBeUndefined();
  });

  test('is found by any of its disks', async () => {
    const second = join(dir, 'data.img');
    await writeFile(second, 'another');
    const guest = await hold([{ path: second, mode: 'r+', lock: 'write' }]);
    expect((await find(disk, second))?.main.pid).toBe(guest.pid);
  });

  test('is not who a pid file names: anybody may write one', async () => {
    const guest = await hold([{ path: disk, mode: 'r+', lock: 'write' }]);
    const bystander = await hold([]);
    await writeFile(join(dir, 'pid'), `${bystander.pid}\n`);
    expect((await find(disk))?.main.pid).toBe(guest.pid);
  });

  test('is gone when its processes are', async () => {
    const guest = await hold([{ path: disk, mode: 'r+', lock: 'write' }]);
    await guest.end();
    await waitFor('nobody to hold it', async () => (await find(disk)) === undefined);
  });
});

test('a relative name is looked up from where the guest is, not from where we are', async () => {
  const guest = await hold([{ path: disk, mode: 'r+' }], { cwd: dir });
  const main = { pid: guest.pid, startTicks: readProcessStat(guest.pid)?.startTicks ?? 0 };
  expect(await resolveAsGuest(main, 'root.img')).toBe(disk);
  expect(await resolveAsGuest(main, '/srv/root.img')).toBe('/srv/root.img');
});
