import { resolve } from 'node:path';
import type { GuestConfig } from '../config/config.js';
import { isError } from '../errors.js';
import { openDisk } from '../image/open-disk.js';
import { findMconsoleSocket } from '../mconsole/socket-lookup.js';
import { consolesHeldBy } from './console-process.js';
import { findGuestMain } from './guest-processes.js';
import { userOf } from './guest-user.js';

/**
 * The path of the console of a guest of the config. A umid is looked for at the process that has the guest's disks open, where the
 * guest has said that it is, and last in the directories for umids; each has to be the guest's user's.
 * @throws what findMconsoleSocket throws
 */
export async function findGuestConsole(config: GuestConfig): Promise<string> {
  const { mconsole, reportedConsole, disks } = config;
  if (mconsole.includes('/')) return resolve(mconsole);
  const files = [];
  for (const { device, path } of disks) files.push(await identityOf(config.name, device, path));
  const there = files.filter((file) => file !== undefined);
  const ownerUid = userOf(config) ?? there[0]?.uid ?? process.geteuid?.() ?? 0;
  const main = await findGuestMain(there);
  // What it said may be of the boot before.
  const first = [
    ...(main === undefined ? [] : consolesHeldBy(main)),
    ...(reportedConsole ? [reportedConsole] : []),
  ];
  return await findMconsoleSocket(mconsole, { first, ownerUid });
}

/** undefined for a disk that can't be used: that is told by whoever needs it. */
async function identityOf(guest: string, device: string, path: string) {
  try {
    const { handle, ownerUid } = await openDisk(guest, device, path);
    try {
      const { dev, ino } = await handle.stat();
      return { dev, ino, uid: ownerUid };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isError(error, 'DiskUnusable')) return undefined;
    throw error;
  }
}
