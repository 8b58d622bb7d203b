import { existsSync, readdirSync } from 'node:fs';
import { pidNamespaceOf } from '../../src/capture/tracing/pid-namespace.js';
import { readProcessStat } from '../../src/process-identity.js';
import { withStrace } from '../support/each-call.js';
import { readOrNothing } from '../support/guest-processes.js';
import { tryTool } from '../support/run-tool.js';

/** The capture processes that `parent` has started and that live, the latest last. */
export function captureChildrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const stat = readProcessStat(pid);
      const isOurs = /capture-child\.js/.test(readOrNothing(`/proc/${pid}/cmdline`));
      return isOurs && stat?.parentPid === parent && stat.state !== 'Z';
    })
    .sort((a, b) => a - b);
}

/** The one capture process that `parent` has now. @throws Error when there is none: its pid is there to be signalled */
export function captureChild(parent = process.pid): number {
  const pid = captureChildrenOf(parent).at(-1);
  if (pid === undefined) throw new Error('no capture process is running');
  return pid;
}

/**
 * The trace instances that a process of this pid namespace has made and not removed: each of them sees those of all. Of one that
 * is dead, any other umlsnap on this host may remove them.
 */
export function traceInstancesOf(pid: number): string[] {
  const place = '/sys/kernel/tracing/instances';
  const own = new RegExp(`^umlsnap-${pid}-\\d+-${pidNamespaceOf('self')}-`);
  return existsSync(place) ? readdirSync(place).filter((name) => own.test(name)) : [];
}

/** Whether strace can attach here; it needs root or a lenient ptrace scope. */
export async function canTrace(): Promise<boolean> {
  const strace = await tryTool('strace', ['-o', '/dev/null', 'true']).catch(() => null);
  return strace?.exitCode === 0;
}

/**
 * What a command is to be started `through`, to meet a fault at system calls that concern this file. It becomes the command, pid
 * and all (`-D`); who kills it otherwise than with the whole scene is waited for until the strace beside it ends as well.
 */
export const throughInjected = (fault: string, path: string): string[] => [
  ...['strace', '-D', '-f', '-o', '/dev/null'],
  ...['-P', path, '-e', `inject=${fault}`],
];

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
