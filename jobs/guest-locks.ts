import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { GuestConfig } from '../src/config/config.js';
import { leaseLock } from '../src/pause/lease.js';

/** Key of the lock under which everything is done that changes a guest's part of a store. */
export function storeLock(storePath: string, guest: string): string {
  return `store ${storePath} ${guest}`;
}

/** What is done to a guest, or to its part of a store, under its locks. */
export type GuestWork = 'backup' | 'doctor' | 'prune' | 'restore';

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

/** Whether this is how a backup describes itself; others may say what they like. */
export function isBackup(holder: string): boolean {
  return /^umlsnap (snapshot|daemon's backup) /.test(holder);
}

function describeOurselves(doing: GuestWork): string {
  const verb =
    process.argv.slice(2).find((argument) => /^[a-z]+$/.test(argument)) ?? basename(process.argv[1] ?? '');
  return `umlsnap ${verb === 'daemon' ? `daemon's ${doing}` : verb} (pid ${process.pid}) since ${new Date().toISOString()}`;
}
