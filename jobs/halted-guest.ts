import type { GuestConfig } from '../src/config/config.js';
import { isHalted } from '../src/guest/guest-condition.js';
import type { SqliteHistory } from '../src/history/sqlite-history.js';
import { holderOf } from '../src/locks/exclusive-lock.js';
import { leaseLock } from '../src/pause/lease.js';

/**
 * Whether a guest that is due is halted, which is no failure. What tells it from a config that is wrong is that it was backed up before.
 * One that somebody works on MUST NOT be asked.
 */
export async function isHaltedWhenDue(
  config: GuestConfig,
  stateDirectory: string,
  history: Pick<SqliteHistory, 'snapshots'>,
): Promise<boolean> {
  const { name } = config;
  if ((await history.snapshots({ guest: name, own: true })).length === 0) return false;
  if ((await holderOf(leaseLock(stateDirectory, name))) !== undefined) return false;
  return await isHalted(config);
}
