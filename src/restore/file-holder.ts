import { readdir, readFile, stat } from 'node:fs/promises';
import { goneOrForbidden } from '../process-identity.js';

/** A file, as stat(2) with bigints names it. */
export interface FileIdentity {
  dev: bigint;
  ino: bigint;
}

/** The pid of another process that has the file open, in whatever way; null when we see none. */
export async function findOpener(file: FileIdentity): Promise<number | null> {
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (Number.isInteger(pid) && pid !== process.pid && (await hasOpen(pid, file))) return pid;
  }
  return null;
}

/**
 * The pid of a process that holds a lock on the file by /proc/locks, where those of other users' processes are seen too; 0 when
 * the lock has no pid (an OFD lock), null when there is none. A flock, as ours on the guest's disks, is nobody's who boots from it.
 */
export async function findLocker(file: FileIdentity): Promise<number | null> {
  const lines = (await readFile('/proc/locks', 'utf8')).split('\n');
  for (const line of lines) {
    const [, type, , , pid, place = ''] = line.trim().split(/\s+/);
    if (!['POSIX', 'OFDLCK'].includes(type ?? '') || !isPlaceOf(place, file)) continue;
    return Math.max(0, Number(pid));
  }
  return null;
}

async function hasOpen(pid: number, file: FileIdentity): Promise<boolean> {
  const directory = `/proc/${pid}/fd`;
  const fds = await readdir(directory).catch(goneOrForbidden<string[]>([]));
  for (const fd of fds) {
    const found = await stat(`${directory}/${fd}`, { bigint: true }).catch(goneOrForbidden(null));
    if (found !== null && found.ino === file.ino && found.dev === file.dev) return true;
  }
  return false;
}

/** `fe:00:2146783`: major and minor in hex, inode in decimal. */
function isPlaceOf(place: string, file: FileIdentity): boolean {
  const [major = '', minor = '', ino = ''] = place.split(':');
  return (
    ino === String(file.ino) &&
    BigInt(`0x${major}`) === (((file.dev >> 8n) & 0xfffn) | ((file.dev >> 32n) & ~0xfffn)) &&
    BigInt(`0x${minor}`) === ((file.dev & 0xffn) | ((file.dev >> 12n) & ~0xffn))
  );
}
