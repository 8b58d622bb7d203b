import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { printableLine } from '../mconsole/printable.js';
import { goneOrForbidden } from '../process-identity.js';

/** A file that a process has open with a lock on it, as a UML has its disks (uml-facts §4). */
export interface LockedFile {
  path: string;
  /** `read`: a backing file, or a disk that is read-only. */
  lock: 'read' | 'write';
}

const maxFiles = 64;

/** From /proc alone: the files themselves, which may lie anywhere, are not touched. Empty where they are closed to us. */
export function lockedFilesOf(pid: number): LockedFile[] {
  const found: LockedFile[] = [];
  for (const fd of orNothing(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
    const info = orNothing(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')) ?? '';
    const mode = /^lock:.* POSIX +ADVISORY +(READ|WRITE) /m.exec(info)?.[1];
    const path = mode && orNothing(() => readlinkSync(`/proc/${pid}/fd/${fd}`));
    if (path) found.push({ path: printableLine(path), lock: mode === 'WRITE' ? 'write' : 'read' });
    if (found.length >= maxFiles) break;
  }
  return found;
}

export function workingDirectoryOf(pid: number): string | undefined {
  return orNothing(() => readlinkSync(`/proc/${pid}/cwd`));
}

function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    return goneOrForbidden(undefined)(error);
  }
}
