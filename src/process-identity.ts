import { readFileSync } from 'node:fs';
import { errnoOf } from './errors.js';

/** Names a process beyond the reuse of its pid. */
export interface ProcessIdentity {
  pid: number;
  /** Start time in clock ticks since boot, field 22 of /proc/PID/stat. */
  startTicks: number;
}

export interface ProcessStat extends ProcessIdentity {
  /** `R`, `S`, `D`, `T`, `t`, `Z`, `X` … of proc(5). */
  state: string;
  parentPid: number;
  /** What it has had of the CPUs, in clock ticks, 10 ms each: fields 14 and 15. */
  cpuTicks: number;
}

/** This boot's id: what was paused in another boot is not paused now. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** /proc/PID/stat, or undefined when there is no such process. The command's name may hold spaces and brackets. */
export function readProcessStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return {
    pid,
    state: fields[0] ?? '?',
    parentPid: Number(fields[1]),
    startTicks: Number(fields[19]),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
  };
}

/** The identity of this very process. */
export function ownIdentity(): ProcessIdentity {
  const stat = readProcessStat(process.pid);
  return { pid: process.pid, startTicks: stat?.startTicks ?? 0 };
}

/**
 * A process that is stopped by a signal, or by a debugger, does nothing of what it is there for. Where the host can't tell, for want of
 * files or memory, it is not.
 */
export function isHeld(identity: ProcessIdentity): boolean {
  try {
    return isAlive(identity) && ['T', 't'].includes(readProcessStat(identity.pid)?.state ?? '');
  } catch {
    return false;
  }
}

/** True while this process runs; a zombie does not. Where the host can't tell, for want of files or memory, it does. */
export function isAlive(identity: ProcessIdentity): boolean {
  let stat: ProcessStat | undefined;
  try {
    stat = readProcessStat(identity.pid);
  } catch {
    return true;
  }
  return (
    stat !== undefined && stat.startTicks === identity.startTicks && stat.state !== 'Z' && stat.state !== 'X'
  );
}

/** For a look at other processes in /proc: they end while we look, and those of others are closed to us. */
export function goneOrForbidden<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return value;
    throw error;
  };
}
