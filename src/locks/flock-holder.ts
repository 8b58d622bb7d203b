import { readdir, readFile, stat } from 'node:fs/promises';
import { errnoOf } from '../errors.js';
import { goneOrForbidden } from '../process-identity.js';
import { holderText } from './lock.js';

/** A file, as stat(2) with bigints names it. */
interface FlockedFile {
  dev: bigint;
  ino: bigint;
  uid: bigint;
}

/**
 * Of the processes that hold a flock on the file, the first that counts (disk-lock.ts), as its command line, or by its name;
 * undefined when none does.
 */
export async function describeFlockHolder(file: FlockedFile): Promise<string | undefined> {
  const ours = [0, process.geteuid?.() ?? 0];
  for (const pid of await lockers(file)) {
    if (!(await isOf(pid, [...ours, Number(file.uid)])) || !(await isHolding(pid, file))) continue;
    // The command line lies in the memory of the process: another user's can be without end, or keep whoever reads it for ever.
    const named = (await isOf(pid, ours)) ? 'cmdline' : 'comm';
    const command = await readFile(`/proc/${pid}/${named}`, 'utf8').catch(goneOrForbidden(''));
    const holder = command.replaceAll('\0', ' ').trim().slice(0, 180);
    return holderText(`${holder || 'another process'} (pid ${pid})`);
  }
  return undefined;
}

/**
 * Who has taken a flock on a file of this number, of whatever filesystem: some are told here by another device than by stat(2).
 * Such a pid may be another process's by now: a lock outlives who took it, with whom he has left it to.
 */
async function lockers({ ino }: FlockedFile): Promise<number[]> {
  const lines = (await readFile('/proc/locks', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  return lines.flatMap(([, type, , , pid, place = '']) =>
    type === 'FLOCK' && place.split(':')[2] === String(ino) ? [Number(pid)] : [],
  );
}

/** By every uid that it has, the real one too: a program that is root's by its mode bits is anybody's. */
async function isOf(pid: number, trusted: number[]): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(goneOrForbidden(''));
  const uids = /^Uid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/).map(Number) ?? [];
  return uids.length > 0 && uids.every((uid) => trusted.includes(uid));
}

/**
 * Whether it has the lock on the very file now, and is not a program that turns into root's for whoever starts it (`sudo` is
 * all root's while it waits for a password). What we may not look at counts: not as root, that is root's.
 */
async function isHolding(pid: number, file: FlockedFile): Promise<boolean> {
  try {
    if (((await stat(`/proc/${pid}/exe`)).mode & 0o6000) !== 0) return false;
    for (const fd of await readdir(`/proc/${pid}/fd`)) {
      const found = await stat(`/proc/${pid}/fd/${fd}`, { bigint: true }).catch(goneOrForbidden(null));
      if (found?.ino !== file.ino || found.dev !== file.dev) continue;
      const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(goneOrForbidden(''));
      if (/^lock:.*\bFLOCK\b/m.test(info)) return true;
    }
    return false;
  } catch (error) {
    return ['EACCES', 'EPERM'].includes(errnoOf(error) ?? '') || goneOrForbidden(false)(error);
  }
}
