import { readFileSync } from 'node:fs';
import type { GuestConfig } from '../config/config.js';
import { UmlsnapError } from '../errors.js';
import { effectiveUserOf } from './console-process.js';

/**
 * All of a guest is one user's: two users' parts put together would be one user's guest stopped for the other one's backup, or one's disk
 * restored to the other. Where the config names the user, the disks may be anybody's whom their place admits.
 * @param disks as they were opened
 * @param pid of the guest's main process
 * @throws GuestOfSeveralUsers, NoSuchUser
 */
export function requireOneUser(
  { config, socketPath, consoleUid }: { config: GuestConfig; socketPath: string; consoleUid: number },
  disks: readonly { path: string; ownerUid: number }[],
  pid: number,
): void {
  const ofDisks = disks.map(({ path, ownerUid }) => ({ what: path, uid: ownerUid }));
  // Gone by now: whoever asks it next says so.
  const processUid = effectiveUserOf(pid) ?? consoleUid;
  const ofGuest = [
    { what: socketPath, uid: consoleUid },
    { what: `process ${pid}`, uid: processUid },
  ];
  const user = userOf(config) ?? ofDisks[0]?.uid;
  const owned = config.user === null ? [...ofDisks, ...ofGuest] : ofGuest;
  if (owned.every(({ uid }) => uid === user)) return;
  const parts = [...ofDisks, ...ofGuest];
  throw new UmlsnapError('GuestOfSeveralUsers', { guest: config.name, named: config.user, parts });
}

/** The number of the user whom the config names as the guest's; undefined where it names none. @throws NoSuchUser */
export function userOf({ name, user }: Pick<GuestConfig, 'name' | 'user'>): number | undefined {
  return user === null ? undefined : numberOf(user, name);
}

/** The number of whoever may write to a guest's notify socket, where the config names one. @throws NoSuchUser */
export function notifyOwnerOf({ name, user, notifyOwner }: GuestConfig): number | undefined {
  const named = notifyOwner ?? user;
  return named === null ? undefined : numberOf(named, name);
}

function numberOf(user: string, guest: string): number {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const [, , uid] = lines.find((line) => line.startsWith(`${user}:`))?.split(':') ?? [];
  if (uid !== undefined && /^\d{1,10}$/.test(uid)) return Number(uid);
  throw new UmlsnapError('NoSuchUser', { guest, user });
}
