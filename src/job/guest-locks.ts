import { access } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { GuestConfig } from '../config/config.js';
import { errnoOf } from '../errors.js';
import type { LockRequest } from '../locks/exclusive-lock.js';
import type { Lock } from '../locks/lock.js';
import { leaseLock } from '../pause/lease.js';
import { guestPartLock, markerPath } from '../store/layout.js';

type PartLock = Exclude<Lock, { on: 'disk' }>;

/** The locks under which everything is done that changes a guest's part of a store: of our state, and of the store if it is there. */
export async function storeLocks(
  stateDirectory: string,
  storePath: string,
  guest: string,
): Promise<PartLock[]> {
  const ours: PartLock = { on: 'state', state: stateDirectory, key: `store ${storePath} ${guest}` };
  return (await isThere(storePath)) ? [ours, guestPartLock({ path: storePath }, guest)] : [ours];
}

/** By its marker: under a mount that is away nothing is made. restic's repositories have none. */
async function isThere(path: string): Promise<boolean> {
  if (!isAbsolute(path)) return false;
  try {
    await access(markerPath({ path }));
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/** What is done to a guest, or to its part of a store, under its locks. */
export type GuestWork = 'backup' | 'dry-run' | 'doctor' | 'prune' | 'remove' | 'restore';

/**
 * The locks of work on a guest, so that nobody else works on it: by its name in our state, by its part of stores,
 * and by the files that are its disks, under whatever name or config somebody else knows them.
 */
export async function guestLocks(
  doing: GuestWork,
  config: Pick<GuestConfig, 'name' | 'disks'>,
  storePaths: readonly string[],
  stateDirectory: string,
): Promise<Pick<LockRequest, 'locks' | 'holder' | 'what'>> {
  const ofStores = await Promise.all(storePaths.map((path) => storeLocks(stateDirectory, path, config.name)));
  const ofDisks = config.disks.map(({ path }): Lock => ({ on: 'disk', path }));
  const locks = [leaseLock(stateDirectory, config.name), ...ofStores.flat(), ...ofDisks];
  return { locks, holder: describeOurselves(doing), what: `Guest ${config.name}` };
}

/** Whether whoever describes himself like this leaves the guest and its disks as they are, and is done soon. */
export function isBrief(holder: string): boolean {
  return /^umlsnap (dry-run|doctor|prune|remove) /.test(holder);
}

function describeOurselves(doing: GuestWork): string {
  return `umlsnap ${doing} (pid ${process.pid}) since ${new Date().toISOString()}`;
}
