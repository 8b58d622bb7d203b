import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, isAbsolute, join } from 'node:path';
import { goneOrForbidden, isAlive, ownIdentity } from '../process-identity.js';
import { isPathError, withDirectoryOf } from './held-directory.js';

/**
 * Directories for our sockets, in memory: BASE/umlsnap-PID-STARTTICKS-RANDOM, so that those of dead processes can be told from those in use. Under
 * a name that nobody can have made before us, they are ours even where everybody may write.
 */

/** What fits in sun_path beside its NUL. */
export const maxSocketPathBytes = 107;
const ownName = /^umlsnap-(\d{1,10})-(\d{1,19})-[A-Za-z0-9]{6}$/;
/** As versions before called theirs: their processes can't be told by that. */
const formerName = /^umlsnap-([A-Za-z0-9]{6}|drill-[0-9a-f]{16})$/;
const formerContent = /^([0-9a-f]{16}|notify|umlsnap-[A-Za-z0-9]{6})$/;
const nameBytes = 'umlsnap-4194304-1234567890123-XXXXXX/'.length;

/**
 * Where such directories are made, the first that can be written to: in memory, which a full or read-only disk can't take from us while a
 * guest stands still. Another user's guest can't enter our run-time directory, nor perhaps our TMPDIR.
 * @param isForOthers another user has to reach the sockets
 * @param socketNameBytes of the longest name in it
 */
export function socketBases(isForOthers: boolean, socketNameBytes: number): string[] {
  const bases = isForOthers
    ? ['/run', '/dev/shm', '/tmp']
    : [process.env.XDG_RUNTIME_DIR, '/run', '/dev/shm', tmpdir(), '/tmp'];
  return bases
    .filter((base) => base !== undefined)
    .filter((base) => isAbsolute(base) && roomFor(base, socketNameBytes));
}

function roomFor(base: string, socketNameBytes: number): boolean {
  return Buffer.byteLength(base) + 1 + nameBytes + socketNameBytes <= maxSocketPathBytes;
}

/**
 * Makes such a directory in the first of these that admits one. Others may then pass through it, and not list it, if they have to.
 * @throws what kept the last of them from it
 */
export async function makeSocketDirectory(bases: string[], isForOthers: boolean): Promise<string> {
  const { pid, startTicks } = ownIdentity();
  let failure: unknown = new Error('no path is short enough');
  for (const base of bases) {
    try {
      const path = await mkdtemp(join(base, `umlsnap-${pid}-${startTicks}-`));
      // Not by `mkdir`: the daemon's umask takes it away (docs/systemd).
      if (isForOthers) await chmod(path, 0o711);
      return path;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** A process that has just begun has made its directory and bound nothing in it yet. */
const youngMs = 60_000;

/** Those that dead processes of our user have left: of such a name anybody can have made one. */
export function findDeadSocketDirectories(now: Date): string[] {
  const bound = readFileSync('/proc/net/unix', 'utf8');
  const bases = new Set([...socketBases(true, 0), ...socketBases(false, 0)]);
  return [...bases]
    .flatMap((base) => namesIn(base).map((name) => join(base, name)))
    .filter((path) => isDead(path, now) && !bound.includes(`${path}/`));
}

/** Removes what `findDeadSocketDirectories` finds. @returns the paths that are gone */
export async function removeDeadSocketDirectories(now: Date): Promise<string[]> {
  const removed: string[] = [];
  for (const path of findDeadSocketDirectories(now)) {
    try {
      await withDirectoryOf(path, (base, name) => base.removeTree(name));
      removed.push(path);
    } catch (error) {
      if (!isPathError(error)) throw error;
    }
  }
  return removed;
}

function isDead(path: string, now: Date): boolean {
  const [, pid, startTicks] = ownName.exec(basename(path)) ?? [];
  const isFormer = formerName.test(basename(path));
  if (pid === undefined ? !isFormer : isAlive({ pid: Number(pid), startTicks: Number(startTicks) }))
    return false;
  const found = lstatSync(path, { throwIfNoEntry: false });
  const isOurs = found?.isDirectory() === true && found.uid === process.geteuid?.();
  if (!isOurs || !isFormer) return isOurs;
  // A name that somebody may have thought of as well.
  const holdsSockets = namesIn(path).every((name) => formerContent.test(name));
  return holdsSockets && now.getTime() - found.mtimeMs > youngMs;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return goneOrForbidden<string[]>([])(error);
  }
}
