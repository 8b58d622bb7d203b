/** The process of disk-holder.ts, and its helper. It lives until it is killed, or until whoever started it is dead. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { pidOf } from '../support/pid-of.js';
import type { Holding } from './disk-holder.js';

const { holdings, withHelper } = JSON.parse(process.argv[2] ?? '{}') as {
  holdings: Holding[];
  withHelper: boolean;
};
for (const holding of holdings) await hold(holding);
const helperPid = withHelper ? await startHelper() : undefined;
process.stdout.write(`${JSON.stringify({ helperPid })}\n`);
// The helper outlives its parent, and has nobody to end it if the test is killed.
if (process.send) setTimeout(() => process.exit(), 120_000);
else process.stdin.on('end', () => process.exit()).resume();

async function hold({ path, mode, lock }: Holding): Promise<void> {
  const descriptor = openSync(path, mode);
  if (!lock) return;
  // struct flock on x86-64: type, whence, start, length (0: to the end), pid. F_SETLK is 6.
  const flock = Buffer.alloc(32);
  flock.writeInt16LE(lock === 'write' ? 1 : 0, 0);
  const { default: koffi } = await import('koffi');
  const fcntl = koffi.load('libc.so.6').func('int fcntl(int fd, int command, ...)');
  if (fcntl(descriptor, 6, 'void *', flock) !== 0) throw new Error(`${path} is locked`);
}

async function startHelper(): Promise<number> {
  const unlocked = holdings.map(({ path, mode }) => ({ path, mode }));
  const order = JSON.stringify({ holdings: unlocked, withHelper: false });
  const helper = fork(fileURLToPath(import.meta.url), [order], {
    execArgv: process.execArgv,
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  if (helper.stdout) await once(helper.stdout, 'data');
  return pidOf(helper);
}
