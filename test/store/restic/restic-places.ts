import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { ResticStoreConfig } from '../../../src/config/store-config.js';
import { ResticStore } from '../../../src/store/restic/restic-store.js';
import { tryTool } from '../../support/run-tool.js';
import { waitFor } from '../../support/wait-for.js';

export const password = 'correct horse battery staple';
/** A place that is down is told in seconds here. */
export const littlePatience = { retryingMs: 3000, silenceMs: 20_000, lockedMs: 2000 };

/** The config of a repository whose password lies in a file, as the tests' own `restic` can use it too. */
export async function configIn(
  dir: string,
  repository: string,
  changes: Partial<ResticStoreConfig> = {},
): Promise<ResticStoreConfig> {
  const passwordFile = join(dir, 'password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  const environmentFile = join(dir, 'environment');
  // Else restic leaves its cache in our home, and writes 16 MiB before anything of it is to be seen.
  await writeFile(environmentFile, `RESTIC_CACHE_DIR=${join(dir, 'cache')}\nRESTIC_PACK_SIZE=4\n`);
  return {
    name: 'offsite',
    type: 'restic',
    repository,
    passwordFile,
    passwordCommand: null,
    environmentFile,
    staging: join(dir, 'staging'),
    ...changes,
  };
}

export const storeOf = (config: ResticStoreConfig) => new ResticStore(config, littlePatience);

/** The host's own restic on the repository, beside ours. */
export async function restic(config: ResticStoreConfig, ...args: string[]): Promise<string> {
  const { exitCode, output, stdout } = await tryTool('env', [
    `RESTIC_PASSWORD_FILE=${config.passwordFile}`,
    'restic',
    '--repo',
    config.repository,
    '--quiet',
    '--no-cache',
    ...args,
  ]);
  if (exitCode !== 0) throw new Error(`restic ${args.join(' ')} exited ${exitCode}: ${output}`);
  return stdout.toString();
}

export interface ResticServer {
  /** As restic calls it. */
  repository: string;
  /** SIGKILL, at once. */
  kill(): void;
  /** Kills it, and waits until it is gone. */
  end(): Promise<void>;
}

/** rclone on a free port of this host, which speaks restic's protocol for a directory. */
export async function startServer(directory: string): Promise<ResticServer> {
  await mkdir(directory, { recursive: true });
  const port = await freePort();
  const args = ['serve', 'restic', '--config', '/dev/null', '--addr', `127.0.0.1:${port}`, directory];
  const server = spawn('rclone', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  server.stderr.on('data', (text: Buffer) => {
    said += text.toString();
  });
  await waitFor('the server', () => {
    if (server.exitCode !== null) throw new Error(`rclone ended: ${said}`);
    return said.includes('Serving restic REST API');
  });
  return {
    repository: `rest:http://127.0.0.1:${port}/`,
    kill: () => void server.kill('SIGKILL'),
    end: () => endOf(server),
  };
}

async function endOf(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const gone = once(server, 'exit');
  server.kill('SIGKILL');
  await gone;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
