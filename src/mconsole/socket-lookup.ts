import { lstat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';

/** As the kernel bounds it (uml-facts §6). */
const maxUmidChars = 63;

export interface LookUp {
  /** Absolute paths that are looked at before all others, if they are called as the socket of this umid. */
  first?: string[];
  /** The user whose the socket has to be: in /tmp/uml, and where the guest said, anybody can have put one. Absent: anybody's. */
  ownerUid?: number;
  env?: { HOME?: string | undefined };
}

/**
 * The path of the mconsole socket of a guest that is named by a path (anything with a slash, taken as it is) or by its
 * umid, which is looked up where UML, `uml_mconsole` and netkit put the sockets (uml-facts §1 and §6).
 * @throws NoMconsoleSocket with all the places looked at, Usage for what can't be a umid
 */
export async function findMconsoleSocket(nameOrPath: string, lookUp: LookUp = {}): Promise<string> {
  if (nameOrPath.includes('/')) return resolve(nameOrPath);
  if (!isUmid(nameOrPath)) {
    throw new UmlsnapError('Usage', { problem: `no umid and no socket path: ${JSON.stringify(nameOrPath)}` });
  }
  const { first = [], ownerUid, env = process.env } = lookUp;
  const end = join('/', nameOrPath, 'mconsole');
  const tried = [
    // Any socket of this host may be named, which would then be sent what is meant for a console.
    ...first.filter((path) => path.startsWith('/') && path.endsWith(end)).map((path) => resolve(path)),
    ...umidDirectories(env.HOME || homedir()).map((directory) => `${directory}${end}`),
  ];
  for (const path of tried) {
    if (await isSocket(path, ownerUid)) return path;
  }
  throw new UmlsnapError('NoMconsoleSocket', { guest: nameOrPath, tried });
}

/** Where UML, `uml_mconsole` and netkit put a directory for each umid, in the order in which they are looked at. */
export function umidDirectories(home: string): string[] {
  return [join(home, '.uml'), '/tmp/uml', join(home, '.netkit/mconsole')];
}

function isUmid(name: string): boolean {
  return name.length <= maxUmidChars && /^[A-Za-z0-9_][A-Za-z0-9_.:+-]*$/.test(name);
}

/** Whether there is a socket at this path, for us to see, and of this user's. */
export async function isSocket(path: string, ownerUid?: number): Promise<boolean> {
  try {
    const found = await lstat(path);
    return found.isSocket() && (ownerUid === undefined || found.uid === ownerUid);
  } catch (error) {
    // Not there, not for us to see, or a path of a guest's that no file can have: either way not here.
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}
