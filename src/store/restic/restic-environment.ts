import { readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
import { childEnvironment } from '../../child-environment.js';
import type { ResticStoreConfig } from '../../config/store-config.js';
import { isError, problemOf, UmlsnapError } from '../../errors.js';
import { runCommand } from '../../run-command.js';
import { shownRepository } from './restic-place.js';

/** What a run of restic needs to get to its repository. None of it stands among its arguments, which all of the host can read. */
export interface ResticAccess {
  env: NodeJS.ProcessEnv;
  /** Its standard input: the password, where a command gives it. */
  input: string | undefined;
  /** What must never be seen. */
  secrets: string[];
}

const passwordTimeoutMs = 60_000;
/** Shorter values, such as the name of a region, are no secrets, and would tear holes into every message. */
const minSecretChars = 8;

/**
 * The environment of restic: what leads to its place, but nothing that is meant for another restic (RESTIC_*), then the config's
 * file, then what the config says.
 * @throws StoreUnusable when the password or the file can't be had
 */
export async function resticAccess(
  config: ResticStoreConfig,
  signal: AbortSignal | undefined,
): Promise<ResticAccess> {
  const { RESTIC_PASSWORD: _, RESTIC_PASSWORD_COMMAND: __, ...fromFile } = await readEnvironment(config);
  const password = await passwordOf(config, signal);
  const further = Object.values(fromFile).filter((value) => value.length >= minSecretChars);
  return {
    env: {
      ...childEnvironment({}, true),
      ...fromFile,
      RESTIC_REPOSITORY: config.repository,
      ...(config.passwordFile === null ? {} : { RESTIC_PASSWORD_FILE: config.passwordFile }),
      RESTIC_PROGRESS_FPS: '1',
      // `--time` is read in the local zone.
      TZ: 'UTC',
      LC_ALL: 'C',
    },
    input: password === undefined ? undefined : `${password}\n`,
    secrets: [...further, ...(password === undefined ? [] : [password]), ...secretsIn(config.repository)],
  };
}

function secretsIn(repository: string): string[] {
  const password = /\/\/[^/@:]*:([^/@]+)@/.exec(repository)?.[1];
  return password === undefined ? [] : [password];
}

async function readEnvironment(config: ResticStoreConfig): Promise<Record<string, string>> {
  if (config.environmentFile === null) return {};
  try {
    return parseEnv(await readFile(config.environmentFile, 'utf8')) as Record<string, string>;
  } catch (error) {
    throw unusable(config, `its environmentFile can't be read: ${problemOf(error)}`);
  }
}

/** By our own run of the command: restic's own splits it into words by rules that not every argument survives. */
async function passwordOf(
  { passwordCommand, ...config }: ResticStoreConfig,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const [file, ...args] = passwordCommand ?? [];
  if (file === undefined) return undefined;
  try {
    const { stdout } = await runCommand([file, ...args], {
      ...{ env: childEnvironment({}, true), timeoutMs: passwordTimeoutMs, signal },
    });
    const password = stdout.split('\n')[0]?.replace(/\r$/, '') ?? '';
    if (password !== '') return password;
    throw unusable({ passwordCommand, ...config }, 'its passwordCommand gave no password');
  } catch (error) {
    if (!isError(error, 'CommandFailed')) throw error;
    throw unusable({ passwordCommand, ...config }, `its passwordCommand failed: ${error.facts.problem}`);
  }
}

function unusable({ name, repository }: ResticStoreConfig, problem: string): UmlsnapError {
  return new UmlsnapError('StoreUnusable', { store: name, path: shownRepository(repository), problem });
}
