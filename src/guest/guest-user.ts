import { readFileSync } from 'node:fs';
import type { GuestConfig } from '../config/config.js';
import { UmlsnapError } from '../errors.js';

/** What belongs to a guest, and whose it is. */
export interface Belonging {
  what: string;
  uid: number;
}

/**
 * All of a guest is one user's: two users' parts put together would be one user's guest stopped for the other one's backup, or one's disk
 * restored to the other. Where the config names the user, the disks may be anybody's whom their place admits.
 * @param parts the console, and the process that holds the disks
 * @throws GuestOfSeveralUsers, NoSuchUser
 */
export function requireOneUser(config: GuestConfig, disks: Belonging[], parts: Belonging[]): void {
  const named = userOf(config);
  const owned = named === undefined ? [...disks, ...parts] : parts;
  const user = named ?? disks[0]?.uid;
  if (owned.every(({ uid }) => uid === user)) return;
  throw new UmlsnapError('GuestOfSeveralUsers', {
    guest: config.name,
    named: config.user,
    parts: [...disks, ...parts],
  });
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
