import { createCipheriv, createDecipheriv, createHash, scryptSync } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ResticStoreConfig } from '../../../src/config/store-config.js';
import { ResticStore } from '../../../src/store/restic/restic-store.js';
import { heard } from '../../support/heard.js';
import { runTool } from '../../support/run-tool.js';
import { waitFor } from '../../support/wait-for.js';

export const password = 'correct horse battery staple';

/** The config of a repository whose password lies in a file, as the tests' own `restic` can use it too. */
export async function configIn(dir: string, repository: string): Promise<ResticStoreConfig> {
  const passwordFile = join(dir, 'password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  const environmentFile = join(dir, 'environment');
  // Else restic leaves its cache in our home, and writes 16 MiB before anything of it is to be seen.
  await writeFile(environmentFile, `RESTIC_CACHE_DIR=${join(dir, 'cache')}\nRESTIC_PACK_SIZE=4\n`);
  const secrets = { passwordFile, passwordCommand: null, environmentFile };
  return { name: 'offsite', type: 'restic', repository, ...secrets, staging: join(dir, 'staging') };
}

/** A place that is down is told in seconds here. */
export const storeOf = (config: ResticStoreConfig, { silenceMs = 20_000 } = {}) =>
  new ResticStore(config, { retryingMs: 3000, silenceMs, lockedMs: 2000 });

/** A PATH with another restic, which is these lines for bash; they find the host's own by the PATH of before. */
export async function pathWithRestic(bin: string, ...lines: string[]): Promise<string> {
  await mkdir(bin, { recursive: true });
  const script = ['#!/bin/bash', `PATH=${process.env.PATH}`, ...lines, ''];
  await writeFile(join(bin, 'restic'), script.join('\n'), { mode: 0o755 });
  return `${bin}:${process.env.PATH}`;
}

/**
 * Gives a repository another key for the same password, that takes next to nothing to derive: restic makes one that costs
 * half a second of the processor each time that it starts, and it starts often here.
 */
export async function makeKeyCheap(repository: string): Promise<void> {
  const keys = join(repository, 'keys');
  const [name = ''] = await readdir(keys);
  const key = JSON.parse(await readFile(join(keys, name), 'utf8'));
  const dear = derived(key);
  const sealed = Buffer.from(key.data, 'base64');
  const iv = sealed.subarray(0, 16);
  const masterKey = createDecipheriv('aes-256-ctr', dear.encrypt, iv).update(sealed.subarray(16, -16));
  const cheap = { ...key, N: 16 };
  const { encrypt, mac } = derived(cheap);
  const data = createCipheriv('aes-256-ctr', encrypt, iv).update(masterKey);
  const nonce = createCipheriv('aes-128-ecb', mac.k, null).setAutoPadding(false).update(iv);
  cheap.data = Buffer.concat([iv, data, poly1305(mac.r, nonce, data)]).toString('base64');
  const text = JSON.stringify(cheap);
  await writeFile(join(keys, createHash('sha256').update(text).digest('hex')), text, { mode: 0o600 });
  await rm(join(keys, name));
}

function derived({ salt, N, r, p }: { salt: string; N: number; r: number; p: number }) {
  const bytes = scryptSync(password, Buffer.from(salt, 'base64'), 64, { N, r, p, maxmem: 2 ** 30 });
  return { encrypt: bytes.subarray(0, 32), mac: { k: bytes.subarray(32, 48), r: bytes.subarray(48) } };
}

/** RFC 8439, 2.5.1. */
function poly1305(r: Buffer, s: Buffer, message: Buffer): Buffer {
  const numberOf = (bytes: Buffer) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const factor = numberOf(r) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) {
    const block = message.subarray(at, at + 16);
    sum = ((sum + numberOf(block) + (1n << BigInt(8 * block.length))) * factor) % (2n ** 130n - 5n);
  }
  const tag = ((sum + numberOf(s)) % 2n ** 128n).toString(16).padStart(32, '0');
  return Buffer.from(tag, 'hex').reverse();
}

/** The host's own restic on the repository, beside ours. */
export async function restic(config: ResticStoreConfig, ...args: string[]): Promise<string> {
  const env = `RESTIC_PASSWORD_FILE=${config.passwordFile}`;
  const options = ['--repo', config.repository, '--quiet', '--no-cache'];
  return (await runTool('env', [env, 'restic', ...options, ...args])).toString();
}

/** rclone, which speaks restic's protocol for a directory, on a free port. */
export async function startServer(directory: string) {
  await mkdir(directory, { recursive: true });
  const args = ['serve', 'restic', '--config', '/dev/null', '--addr', '127.0.0.1:0', directory];
  const server = spawn('rclone', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const gone = once(server, 'exit');
  const said = heard(server.stderr);
  const url = await waitFor('the server', () => {
    if (server.exitCode !== null) throw new Error(`rclone ended: ${said()}`);
    return /Serving restic REST API on \[?(http:[^\s\]]*)/.exec(said())?.[1];
  });
  const kill = () => void server.kill('SIGKILL');
  /** Kills it, and waits until it is gone. */
  const end = async () => {
    kill();
    await gone;
  };
  return { repository: `rest:${url}`, kill, end };
}
