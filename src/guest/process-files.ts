import { closeSync, opendirSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { printableLine } from '../mconsole/printable.js';
import { goneOrForbidden } from '../process-identity.js';

/** A file that a process has open with a lock on it, as a UML has its disks (uml-facts §4). */
export interface LockedFile {
  path: string;
  /** `read`: a backing file, or a disk that is read-only. */
  lock: 'read' | 'write';
}

const maxFiles = 64;
const descriptorsLookedAt = 1024;

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

/**
 * Of a process's descriptors the lowest, among which are those that a guest has had since its boot: its console, its disks. Whoever
 * has a million of them, and many processes that share them, MUST NOT hold us up with all. None where they are closed to us.
 */
export function lowestDescriptorsOf(pid: number | string): string[] {
  const names = orNothing(() => {
    const directory = opendirSync(`/proc/${pid}/fd`);
    try {
      const found: string[] = [];
      for (let entry = directory.readSync(); entry; entry = directory.readSync()) {
        if (found.push(entry.name) >= descriptorsLookedAt) break;
      }
      return found;
    } finally {
      directory.closeSync();
    }
  });
  return names ?? [];
}

export function workingDirectoryOf(pid: number): string | undefined {
  return orNothing(() => readlinkSync(`/proc/${pid}/cwd`));
}

const notifyArgument = 'mconsole=notify:';
const maxCommandLineBytes = 64 * 1024;

/** The socket that a UML was told to notify, by the command line that the host has of its process (uml-facts §3); the last one counts. */
export function notifySocketOf(pid: number): string | undefined {
  const line = orNothing(() => readOfProcess(pid, 'cmdline', maxCommandLineBytes));
  const words = (line?.toString('utf8') ?? '').split('\0');
  return words.findLast((word) => word.startsWith(notifyArgument))?.slice(notifyArgument.length);
}

/**
 * Reads what a process has in its own memory. It may have said by prctl(PR_SET_MM_MAP) that this is terabytes: nothing MUST be read
 * beyond the bound, for a read without an end stops all that this process does.
 * @returns null where there is more than `maxBytes`
 * @throws ESRCH, EACCES and the like
 */
export function readOfProcess(pid: number, file: 'cmdline' | 'environ', maxBytes: number): Buffer | null {
  const fd = openSync(`/proc/${pid}/${file}`, 'r');
  try {
    const buffer = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (;;) {
      const bytes = readSync(fd, buffer, length, buffer.length - length, null);
      length += bytes;
      if (length > maxBytes) return null;
      if (bytes === 0) return buffer.subarray(0, length);
    }
  } finally {
    closeSync(fd);
  }
}

function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    return goneOrForbidden(undefined)(error);
  }
}
