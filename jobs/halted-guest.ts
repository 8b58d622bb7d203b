import { lstat } from 'node:fs/promises';
import type { GuestConfig } from '../src/config/config.js';
import { errnoOf } from '../src/errors.js';
import { isDown } from '../src/guest/guest-condition.js';
import type { SqliteHistory } from '../src/history/sqlite-history.js';
import { holderOf } from '../src/locks/exclusive-lock.js';
import { leaseLock } from '../src/pause/lease.js';

/**
 * Whether a guest that is due is halted, which is no failure: nobody listens at its console, no process has its disks open, and they are
 * there. What tells it from a config that is wrong is that it was backed up before. One that somebody works on MUST NOT be asked.
 */
export async function isHalted(
  config: GuestConfig,
  stateDirectory: string,
  history: Pick<SqliteHistory, 'snapshots'>,
): Promise<boolean> {
  const { name, disks } = config;
  if ((await history.snapshots({ guest: name, own: true })).length === 0) return false;
  if ((await holderOf(leaseLock(stateDirectory, name))) !== undefined) return false;
  if (!(await isDown(config))) return false;
  return (await Promise.all(disks.map(({ path }) => isThere(path)))).every(Boolean);
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isFile();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}
