import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';

/**
 * The config file of design §8: the one named on the command line, `$UMLSNAP_CONFIG`, the user's, the system's. One that
 * is named by hand is the only one looked for: a wrong name must not end in another config. Its absolute path.
 * @throws ConfigNotFound with all that was tried
 */
export async function findConfigFile(
  explicit?: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const candidates = candidateFiles(explicit, env).map((file) => resolve(file));
  for (const file of candidates) {
    if (await exists(file)) return file;
  }
  throw new UmlsnapError('ConfigNotFound', { tried: candidates });
}

function candidateFiles(explicit: string | undefined, env: NodeJS.ProcessEnv): string[] {
  if (explicit !== undefined) return [explicit];
  if (env.UMLSNAP_CONFIG) return [env.UMLSNAP_CONFIG];
  return [join(env.HOME || homedir(), '.config/umlsnap/config.yaml'), '/etc/umlsnap/config.yaml'];
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
