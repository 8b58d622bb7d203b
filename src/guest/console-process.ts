import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { basename, isAbsolute, resolve } from 'node:path';
import { errnoOf } from '../errors.js';
import { goneOrForbidden, type ProcessIdentity, readProcessStat } from '../process-identity.js';
import { boundSocketsSeenBy, listBoundSockets } from './bound-sockets.js';
import { eldest } from './guest-processes.js';
import { lowestDescriptorsOf } from './process-files.js';
import type { BoundSocket } from './unix-diag.js';

/** An mconsole socket and the process behind it, as the host sees them. */
export interface HeldConsole {
  /** Absolute. */
  socketPath: string;
  /** The guest's main process; undefined where its files are closed to us, or several could be meant. */
  main: ProcessIdentity | undefined;
}

/** Every socket of the name that UML gives its console, `mconsole`, that somebody listens at. */
export function listHeldConsoles(): HeldConsole[] {
  return heldSockets('mconsole').map(({ socketPath, main }) => ({ socketPath, main }));
}

/**
 * The main process of the guest that listens at this socket. It is the one that holds the very socket that the file is
 * bound to, and is the file's owner's: a pid file is no evidence, for anyone may write one.
 * @returns undefined when there is none, when its files are closed to us, or when it can't be told from another
 */
export function findConsoleProcess(socketPath: string): ProcessIdentity | undefined {
  const file = statOf(socketPath);
  if (!file) return undefined;
  const atThisFile = heldSockets(basename(socketPath), file.uid).filter(
    (held) => held.file.dev === file.dev && held.file.ino === file.ino,
  );
  return atThisFile.length === 1 ? atThisFile[0]?.main : undefined;
}

/** The consoles that a guest's main process itself has bound, by their paths. */
export function consolesHeldBy(pid: number): string[] {
  const held = socketsOf(String(pid));
  return boundSocketsSeenBy(pid)
    .filter(({ inode, path }) => held.has(inode) && basename(path) === 'mconsole')
    .flatMap((socket) => pathOf(socket, { pid }) ?? []);
}

interface HeldSocket extends HeldConsole {
  file: Stats;
}

/** @param ofUser only by processes of this user: with what others have open, they could hold us up */
function heldSockets(name: string, ofUser?: number): HeldSocket[] {
  const bound = listBoundSockets().filter(({ path }) => basename(path) === name);
  const holders = holdersOf(new Set(bound.map(({ inode }) => inode)), ofUser);
  return bound.flatMap((socket) => {
    const main = mainOf(holders.get(socket.inode) ?? []);
    const socketPath = pathOf(socket, main);
    const file = socketPath === undefined ? undefined : statOf(socketPath);
    if (socketPath === undefined || file === undefined || !isBoundTo(socket, file)) return [];
    const isProven = socket.fileInode !== null || (main !== undefined && mayHaveBound(main, file));
    return [{ socketPath, file, main: isProven ? main : undefined }];
  });
}

/** A socket's file may have been removed, and another one made in its place. */
function isBoundTo({ fileInode }: BoundSocket, file: Stats): boolean {
  return fileInode === null || fileInode === file.ino % 2 ** 32;
}

/**
 * Where only a path ties a process to a file: whoever forges a path must not lead us to a process of somebody else, nor may
 * a container that has the same path mean another file by it.
 */
function mayHaveBound(main: ProcessIdentity, file: Stats): boolean {
  const hasOurFiles = linkAt(`/proc/${main.pid}/ns/mnt`) === linkAt('/proc/self/ns/mnt');
  return hasOurFiles && effectiveUserOf(main.pid) === file.uid;
}

function pathOf({ path }: BoundSocket, main: Pick<ProcessIdentity, 'pid'> | undefined): string | undefined {
  if (isAbsolute(path)) return path;
  const cwd = main === undefined ? undefined : linkAt(`/proc/${main.pid}/cwd`);
  return cwd === undefined ? undefined : resolve(cwd, path);
}

/** Helpers and the stubs of the guest's processes are children of the main process, and hold all that it holds. */
function mainOf(pids: number[]): ProcessIdentity | undefined {
  if (pids.length === 0) return undefined;
  const stat = readProcessStat(eldest(pids));
  return stat && { pid: stat.pid, startTicks: stat.startTicks };
}

function holdersOf(inodes: Set<number>, ofUser: number | undefined): Map<number, number[]> {
  const holders = new Map<number, number[]>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (ofUser !== undefined && effectiveUserOf(Number(pid)) !== ofUser) continue;
    for (const inode of socketsOf(pid)) {
      if (inodes.has(inode)) holders.set(inode, [...(holders.get(inode) ?? []), Number(pid)]);
    }
  }
  return holders;
}

function socketsOf(pid: string): Set<number> {
  const links = lowestDescriptorsOf(pid).map((fd) => linkAt(`/proc/${pid}/fd/${fd}`) ?? '');
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []).map(Number));
}

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    return goneOrForbidden(undefined)(error);
  }
}

/** The effective user of a process. */
export function effectiveUserOf(pid: number): number | undefined {
  try {
    const uid = /^Uid:\t\d+\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return uid === undefined ? undefined : Number(uid);
  } catch (error) {
    return goneOrForbidden(undefined)(error);
  }
}

function statOf(path: string): Stats | undefined {
  try {
    const file = lstatSync(path);
    return file.isSocket() ? file : undefined;
  } catch (error) {
    if (errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}
