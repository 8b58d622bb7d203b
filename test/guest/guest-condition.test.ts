import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { GuestConfig } from '../../src/config/config.js';
import { isHalted } from '../../src/guest/guest-condition.js';
import { withFakeGuest } from '../fixtures/fake-guest.js';
import { withTempDir } from '../support/temp-dir.js';

test('a guest is halted only if its console was taken away, and its disks are there and free: not one that has crashed, or runs again', () =>
  withTempDir(async (dir) => {
    const disk = join(dir, 'disk.img');
    await writeFile(disk, 'x');
    const guest = await withFakeGuest({ dir, disks: { ubd0: 'disk.img' } }, async ({ socketPath }) => {
      const disks = [{ device: 'ubd0', path: disk }];
      const config = { name: 'debian', mconsole: socketPath, disks } as unknown as GuestConfig;
      expect(await isHalted(config)).toBe(false);
      // Its process has the disk open still, or again.
      expect(await isHalted({ ...config, mconsole: join(dir, 'none') })).toBe(false);
      return config;
    });
    // Its end has left the socket.
    expect(await isHalted(guest)).toBe(false);
    await rm(guest.mconsole);
    expect(await isHalted(guest)).toBe(true);
    await rm(disk);
    expect(await isHalted(guest)).toBe(false);
  }));
