import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/**
 * A process that stops a restic which has the repository locked for itself, says `held`, waits for a line, and kills it: its
 * lock is left behind. REPOSITORY PASSWORDFILE
 */
const [repository = '', passwordFile = ''] = process.argv.slice(2);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const isHeld = () => readdirSync(join(repository, 'locks')).some((name) => /^[0-9a-f]{64}$/.test(name));
for (let held = false; !held; ) {
  const args = ['--repo', repository, '--password-file', passwordFile, '--no-cache', 'prune', '--quiet'];
  const restic = spawn('restic', args, { stdio: 'ignore' });
  const ended = once(restic, 'exit');
  while (!isHeld() && restic.exitCode === null) await new Promise((resolve) => setImmediate(resolve));
  restic.kill('SIGSTOP');
  held = isHeld() && restic.exitCode === null;
  if (held) {
    process.stdout.write('held\n');
    await input.next();
  }
  restic.kill('SIGKILL');
  await ended;
}
process.exit(0);
