import { spawn } from 'node:child_process';

/**
 * Has `script` (of sh, with `args` as $1, $2, …) run as soon as this process is dead, by whatever death: what a test
 * run that is killed leaves behind goes with it. The watch is a process of its own session that reads from a pipe
 * whose other end only we hold.
 */
export function afterOurDeath(script: string, args: string[]): { cancel(): void } {
  const watch = spawn('/bin/sh', ['-c', `read -r _; ${script}`, 'death-watch', ...args], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watch.unref();
  // The pipe MUST stay open as long as we live, and MUST NOT keep us alive.
  const pipe = watch.stdin as typeof watch.stdin & { unref?: () => void };
  pipe.on('error', () => pipe.destroy());
  pipe.unref?.();
  return { cancel: () => void watch.kill('SIGKILL') };
}
