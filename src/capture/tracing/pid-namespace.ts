import { readlinkSync } from 'node:fs';

/** The inode number of the outermost pid namespace, the same on every Linux (PROC_PID_INIT_INO). */
export const initPidNamespace = '4026531836';

/** The inode number of the pid namespace of a process. */
export function pidNamespaceOf(process: string): string {
  return /\[(\d+)\]/.exec(readlinkSync(`/proc/${process}/ns/pid`))?.[1] ?? 'unknown';
}
