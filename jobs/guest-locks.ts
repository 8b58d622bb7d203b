import { stat } from 'node:fs/promises';
import type { GuestConfig } from '../src/config/config.js';
import { leaseLock } from '../src/pause/lease.js';

/** Key of the lock under which everything is done that changes a guest's part of a store. */
export function storeLock(storePath: string, guest: string): string {
  return `store ${storePath} ${guest}`;
}

/** What is done to a guest, or to its part of a store, under its locks. */
export type GuestWork = 'backup' | 'dry-run' | 'doctor' | 'prune' | 'restore';

/**
 * The locks of work on a guest, so that nobody else works on it: by its name in our state, by its part of stores,
 * and by the files that are its disks, under whatever name or config somebody else knows them.
 */
export async function guestLocks(
  doing: GuestWork,
  config: GuestConfig,
  storePaths: string[],
  stateDirectory: string,
): Promise<{ keys: string[]; holder: string; what: string }> {
  const keys = [
    leaseLock(stateDirectory, config.name),
    ...storePaths.map((path) => storeLock(path, config.name)),
  ];
  for (const disk of config.disks) {
    // A disk that is not there is the preflight's to complain about.
    const file = await stat(disk.path).catch(() => undefined);
    if (file) keys.push(`disk ${file.dev} ${file.ino}`);
  }
  return { keys, holder: describeOurselves(doing), what: `Guest ${config.name}` };
}

/** Whether whoever describes himself like this leaves the guest and its disks as they are, and is done soon. */
export function isBrief(holder: string): boolean {
  return /^umlsnap (dry-run|doctor|prune) /.test(holder);
}

function describeOurselves(doing: GuestWork): string {
  return `umlsnap ${doing} (pid ${process.pid}) since ${new Date().toISOString()}`;
}
