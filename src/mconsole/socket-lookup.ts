import { lstat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';

/** As the kernel bounds it (uml-facts §6). */
const maxUmidChars = 63;

/**
 * The path of the mconsole socket of a guest that is named by a path (anything with a slash, taken as it is) or by its
 * umid, which is looked up where UML, `uml_mconsole` and netkit put the sockets (uml-facts §1 and §6).
 * @param told where the guest itself has said its socket is: looked at last, and only if it is called as that of its umid
 * @throws NoMconsoleSocket with all the places looked at, Usage for what can't be a umid
 */
export async function findMconsoleSocket(
  nameOrPath: string,
  told?: string,
  env: { HOME?: string | undefined } = process.env,
): Promise<string> {
  if (nameOrPath.includes('/')) return resolve(nameOrPath);
  if (!isUmid(nameOrPath)) {
    throw new UmlsnapError('Usage', { problem: `no umid and no socket path: ${JSON.stringify(nameOrPath)}` });
  }
  const tried = umidDirectories(env.HOME || homedir()).map((directory) =>
    join(directory, nameOrPath, 'mconsole'),
  );
  // It may name any socket of this host, which would then be sent what is meant for a console.
  if (told?.startsWith('/') && told.endsWith(`/${nameOrPath}/mconsole`)) tried.push(resolve(told));
  for (const path of tried) {
    if (await isSocket(path)) return path;
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

/** Whether there is a socket at this path, for us to see. */
export async function isSocket(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSocket();
  } catch (error) {
    // Not there, not for us to see, or a path of a guest's that no file can have: either way not here.
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}
