import { access, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';

/**
 * The config file of design §8: the one named on the command line, `$UMLSNAP_CONFIG`, the user's in a home of his own, the system's. One that
 * is named by hand is the only one looked for: a wrong name must not end in another config. Its absolute path.
 * @throws ConfigNotFound with all that was tried
 */
export async function findConfigFile(
  explicit?: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const candidates = (await candidateFiles(explicit, env)).map((file) => resolve(file));
  for (const file of candidates) {
    if (await exists(file)) return file;
  }
  throw new UmlsnapError('ConfigNotFound', { tried: candidates });
}

async function candidateFiles(explicit: string | undefined, env: NodeJS.ProcessEnv): Promise<string[]> {
  if (explicit !== undefined) return [explicit];
  if (env.UMLSNAP_CONFIG) return [env.UMLSNAP_CONFIG];
  const home = env.HOME || homedir();
  const ofUser = (await isOthers(home)) ? [] : [join(home, '.config/umlsnap/config.yaml')];
  return [...ofUser, '/etc/umlsnap/config.yaml'];
}

/** Root may have come with the HOME of whoever it was before (`su`, `sudo -E`), where a config would have his programs run as root. */
async function isOthers(home: string): Promise<boolean> {
  try {
    return ![0, process.geteuid?.()].includes((await stat(home)).uid);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/** A file that is there and can't be read counts as found: reading it says what is wrong. */
async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    return errno !== 'ENOENT' && errno !== 'ENOTDIR';
  }
}
