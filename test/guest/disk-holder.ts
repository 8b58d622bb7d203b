import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { builtScript } from '../support/script-child.js';

/** A process that holds files open as a guest's main process or its I/O helper does. */
export interface DiskHolder {
  readonly pid: number;
  /** Kills it, and the helper that it has started. */
  end(): Promise<void>;
  /** Kills it alone: a helper lives on, as one of a UML before 6.13 does. */
  kill(): Promise<void>;
  readonly helperPid: number | undefined;
}

export interface Holding {
  path: string;
  mode: 'r' | 'r+';
  /** With an fcntl lock on all of it, as UML takes it unless its `c` flag is given. */
  lock?: 'read' | 'write';
}

/** Starts a process that holds these files; `withHelper` makes it start a child that holds them as well. */
export async function holdDisks(
  holdings: Holding[],
  options: { cwd?: string; withHelper?: boolean } = {},
): Promise<DiskHolder> {
  const script = builtScript(new URL('./disk-holder-process.ts', import.meta.url));
  const order = JSON.stringify({ holdings, withHelper: options.withHelper ?? false });
  const child: ChildProcess = spawn(process.execPath, [script, order], {
    stdio: ['pipe', 'pipe', 'inherit'],
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  });
  const ended = once(child, 'exit');
  if (!child.stdout || child.pid === undefined) throw new Error('the holder of disks did not start');
  const [line] = (await Promise.race([
    once(child.stdout, 'data'),
    ended.then(() => Promise.reject(new Error('the holder of disks ended'))),
  ])) as [Buffer];
  const { helperPid } = JSON.parse(line.toString()) as { helperPid?: number };
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  const end = async () => {
    if (helperPid !== undefined) killIfThere(helperPid);
    await kill();
  };
  return { pid: child.pid, helperPid, kill, end };
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
