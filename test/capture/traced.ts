import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { withStrace } from '../support/each-call.js';
import { tryTool } from '../support/run-tool.js';

/** The capture processes that `parent` has started and that live, the latest last. */
export function captureChildrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const isOurs = /(capture|precopy)-child\.js/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        return isOurs && new RegExp(`^PPid:\\t${parent}$`, 'm').test(status) && !/^State:\tZ/m.test(status);
      } catch {
        return false;
      }
    })
    .sort((a, b) => a - b);
}

/** The one capture process there is now. */
export function captureChild(): number {
  const pid = captureChildrenOf(process.pid).at(-1);
  if (pid === undefined) throw new Error('no capture process is running');
  return pid;
}

/** The trace instances that a process has made and not removed. Of one that is dead, any other umlsnap on this host may remove them. */
export function traceInstancesOf(pid: number): string[] {
  const place = '/sys/kernel/tracing/instances';
  return existsSync(place) ? readdirSync(place).filter((name) => name.startsWith(`umlsnap-${pid}-`)) : [];
}

/** Whether strace can attach here; it needs root or a lenient ptrace scope. */
export async function canTrace(): Promise<boolean> {
  return tryTool('strace', ['-o', '/dev/null', 'true']).then(
    ({ exitCode }) => exitCode === 0,
    () => false,
  );
}

/**
 * Runs `use` while the process meets a fault at system calls: `inject` as strace has it, `read:error=EIO`; with `path`, only at
 * those that concern this file.
 */
export async function withInjected<T>(
  pid: number,
  inject: string[],
  use: () => Promise<T>,
  path?: string,
): Promise<T> {
  const faults = inject.flatMap((fault) => ['-e', `inject=${fault}`]);
  const where = path === undefined ? [] : ['-P', path];
  return (await withStrace(pid, ['-o', '/dev/null', ...where, ...faults], use)).result;
}
