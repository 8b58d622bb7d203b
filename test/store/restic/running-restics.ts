import { readdirSync, readFileSync } from 'node:fs';
import { readProcessStat } from '../../../src/process-identity.js';

export interface RunningRestic {
  pid: number;
  /** Its arguments, as everybody on the host can read them. */
  argv: string[];
}

/** The restics that a process has started, and that run now. */
export function resticsOf(parentPid: number): RunningRestic[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => readProcessStat(pid)?.parentPid === parentPid)
    .map((pid) => ({ pid, argv: argvOf(pid) }))
    .filter(({ argv }) => argv[0] === 'restic');
}

function argvOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
