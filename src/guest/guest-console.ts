import { lstat, stat } from 'node:fs/promises';
import type { GuestConfig } from '../config/config.js';
import { errnoOf, isError } from '../errors.js';
import { findMconsoleSocket } from '../mconsole/socket-lookup.js';

/**
 * The path of the console of a guest of the config. Where the guest itself has said it is counts last, and only if that socket
 * belongs to whoever owns the guest's first disk: it could name another user's guest, which would then be told what is meant
 * for this one.
 * @throws what findMconsoleSocket throws
 */
export async function findGuestConsole(config: GuestConfig): Promise<string> {
  const { mconsole, toldConsole } = config;
  try {
    return await findMconsoleSocket(mconsole);
  } catch (error) {
    if (toldConsole === undefined || !isError(error, 'NoMconsoleSocket')) throw error;
    const told = await findMconsoleSocket(mconsole, toldConsole);
    if (await isOfOwner(told, config)) return told;
    throw error;
  }
}

async function isOfOwner(socketPath: string, { disks: [disk] }: GuestConfig): Promise<boolean> {
  try {
    return disk !== undefined && (await lstat(socketPath)).uid === (await stat(disk.path)).uid;
  } catch (error) {
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}
