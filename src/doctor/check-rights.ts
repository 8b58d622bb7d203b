import { statSync } from 'node:fs';
import type { GuestConfig } from '../config/config.js';
import { type Finding, fine, trouble } from './finding.js';

export interface RightsLook {
  uid: number;
  /** Guests whose first disk belongs to somebody else. */
  foreign: { guest: string; uid: number }[];
}

/** Who we are, and whose the guests are: a guest's console is for its owner and for root (uml-facts §6). */
export function lookAtRights(guests: readonly GuestConfig[]): RightsLook {
  const uid = process.geteuid?.() ?? -1;
  const foreign = guests.flatMap(({ name, disks: [disk] }) => {
    const owner = disk && statSync(disk.path, { throwIfNoEntry: false })?.uid;
    return owner === undefined || owner === uid ? [] : [{ guest: name, uid: owner }];
  });
  return { uid, foreign };
}

export function checkRights({ uid, foreign }: RightsLook): Finding {
  const about = { check: 'rights', about: null } as const;
  if (uid === 0) return fine(about, 'Runs as root.', { uid });
  if (foreign.length === 0) {
    return fine(about, `Runs as user ${uid}, who has all guests of the config.`, { uid });
  }
  const names = foreign.map(({ guest, uid: owner }) => `${guest} (of user ${owner})`).join(', ');
  return trouble(about, {
    level: 'critical',
    what: `Runs as user ${uid}, and these guests are somebody else's: ${names}.`,
    means: "A guest's console answers its owner and root only: they can't be backed up by this user.",
    mend: 'Run umlsnap as root, or as the user that runs the guests.',
    facts: { uid, foreign },
  });
}
