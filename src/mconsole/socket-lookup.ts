import { lstat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';

/** As the kernel bounds it (uml-facts §6). */
const maxUmidChars = 63;

/**
 * The path of the mconsole socket of a guest that is named by a path (anything with a slash, taken as it is) or by its
 * umid, which is looked up where UML, `uml_mconsole` and netkit put the sockets (uml-facts §1 and §6).
 * @throws NoMconsoleSocket with all the places looked at, Usage for what can't be a umid
 */
export async function findMconsoleSocket(
  nameOrPath: string,
  env: { HOME?: string | undefined } = process.env,
): Promise<string> {
  if (nameOrPath.includes('/')) return resolve(nameOrPath);
  if (!isUmid(nameOrPath)) {
    throw new UmlsnapError('Usage', { problem: `no umid and no socket path: ${JSON.stringify(nameOrPath)}` });
  }
  const home = env.HOME || homedir();
  const tried = [join(home, '.uml'), '/tmp/uml', join(home, '.netkit/mconsole')].map((directory) =>
    join(directory, nameOrPath, 'mconsole'),
  );
  for (const path of tried) {
    if (await isSocket(path)) return path;
  }
  throw new UmlsnapError('NoMconsoleSocket', { guest: nameOrPath, tried });
}

function isUmid(name: string): boolean {
  return name.length <= maxUmidChars && /^[A-Za-z0-9_][A-Za-z0-9_.:+-]*$/.test(name);
}

async function isSocket(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSocket();
  } catch (error) {
    // Not there, or not for us to see: either way not here.
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}
