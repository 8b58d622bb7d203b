import { readFileSync } from 'node:fs';
import type { GuestConfig } from '../config/config.js';
import { UmlsnapError } from '../errors.js';

/**
 * The user number of whoever may write to a guest's notify socket, where the config names one.
 * @throws NotifyUnusable when there is no such user, now
 */
export function notifyOwnerOf({ notify, notifyOwner }: GuestConfig): number | undefined {
  if (notifyOwner === null) return undefined;
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const [, , uid] = lines.find((line) => line.startsWith(`${notifyOwner}:`))?.split(':') ?? [];
  if (uid !== undefined && /^\d{1,10}$/.test(uid)) return Number(uid);
  const problem = `there is no user ${notifyOwner} in /etc/passwd, and notifyOwner names it`;
  throw new UmlsnapError('NotifyUnusable', { socketPath: notify, problem });
}
