import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { goneOrForbidden, ownIdentity, type ProcessIdentity, readProcessStat } from '../process-identity.js';
import { lowestDescriptorsOf } from './process-files.js';

/** A guest as the host sees it: the process that runs its kernel, and the tasks that write its disks. */
export interface GuestProcesses {
  /** Runs the guest's kernel: nothing of the guest can run, or stand paused, without it. */
  main: ProcessIdentity;
  /** Every process of the guest that holds a disk open, main included. Stubs of guest processes come and go. */
  holders: ProcessIdentity[];
  /** Threads that may write to the disks while the guest is stopped: its I/O helper, see drain. */
  ioTasks: IoTask[];
}

/** A thread of a process that has the guest's disks open. */
export interface IoTask {
  pid: number;
  tid: number;
}

/** A file by device and inode, as `stat` gives them. */
export interface FileIdentity {
  dev: number;
  ino: number;
}

/**
 * Finds the guest by who holds one of its disks open for writing. A pid file is no evidence: anyone may write one.
 * A UML locks its disks by fcntl (uml-facts §4), so /proc/locks names it at once; a guest with the `c` flag takes no
 * lock and is found among all processes.
 * @returns undefined when nobody holds any of the disks for writing
 */
export async function findGuestProcesses(disks: FileIdentity[]): Promise<GuestProcesses | undefined> {
  const main = await findGuestMain(disks);
  if (main === undefined) return undefined;
  const family = descendants(main, await allPids());
  const holders = await pidsHolding(family, disks);
  const mainStat = readProcessStat(main);
  if (mainStat === undefined) return undefined;
  return {
    main: { pid: main, startTicks: mainStat.startTicks },
    holders: holders
      .flatMap((pid) => readProcessStat(pid) ?? [])
      .map(({ pid, startTicks }) => ({ pid, startTicks })),
    ioTasks: await lastingIoTasksOf(main, holders),
  };
}

/** The process that has the disks open for writing, and runs the guest's kernel; undefined where there is none. */
export async function findGuestMain(disks: FileIdentity[]): Promise<number | undefined> {
  if (disks.length === 0) return undefined;
  const lockHolders = await pidsHolding(lockedBy(disks), disks);
  const seed = lockHolders.length > 0 ? lockHolders : await pidsHolding(await allPids(), disks);
  return seed.length === 0 ? undefined : eldest(seed);
}

/** Absolute path that the guest's process would find under a name that it gave, which may be relative (uml-facts §4). */
export async function resolveAsGuest(main: ProcessIdentity, path: string): Promise<string> {
  if (path.startsWith('/')) return path;
  return `${await readlink(`/proc/${main.pid}/cwd`)}/${path}`;
}

function lockedBy(disks: FileIdentity[]): number[] {
  const inodes = new Set(disks.map((disk) => String(disk.ino)));
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(
      (field) => field[1] === 'POSIX' && field[3] === 'WRITE' && inodes.has(field[5]?.split(':')[2] ?? ''),
    )
    .map((field) => Number(field[4]))
    .filter((pid) => pid > 0);
}

async function allPids(): Promise<number[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Those of the pids that have one of the files open for writing; we ourselves don't count. */
async function pidsHolding(pids: number[], disks: FileIdentity[]): Promise<number[]> {
  const holding: number[] = [];
  for (const pid of new Set(pids)) {
    if (pid !== process.pid && (await holdsForWriting(pid, disks))) holding.push(pid);
  }
  return holding;
}

async function holdsForWriting(pid: number, disks: FileIdentity[]): Promise<boolean> {
  for (const fd of lowestDescriptorsOf(pid)) {
    const file = await stat(`/proc/${pid}/fd/${fd}`).catch(goneOrForbidden(undefined));
    if (!file || !disks.some((disk) => disk.ino === file.ino && disk.dev === file.dev)) continue;
    const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(goneOrForbidden(''));
    const flags = Number.parseInt(/^flags:\s*([0-7]+)/m.exec(info)?.[1] ?? '0', 8);
    if ((flags & 0o3) !== 0) return true;
  }
  return false;
}

/** The holder whose parent holds nothing: helpers and stubs are children of the main process. */
export function eldest(holders: number[]): number {
  const set = new Set(holders);
  const roots = holders.filter((pid) => !set.has(readProcessStat(pid)?.parentPid ?? 0));
  return Math.min(...(roots.length > 0 ? roots : holders));
}

function descendants(root: number, pids: number[]): number[] {
  const parents = new Map(pids.map((pid) => [pid, readProcessStat(pid)?.parentPid ?? 0]));
  const isOfFamily = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined && at > 1; at = parents.get(at)) {
      if (at === root) return true;
    }
    return false;
  };
  return pids.filter(isOfFamily);
}

const looksApartMs = 30;
const maxLooks = 50;
/** A guest process that is just being made is traced by then, on any host that is not at its end. */
const grownUpMs = 1000;
const tickMs = 10;

/**
 * The tasks that two looks in a row have found, none of them just born. A guest process that is just being made is, for a moment,
 * a holder that nobody traces: taken for the I/O helper it would be missed as soon as it ends. A young task is waited for, not
 * left out: after a reboot the helper is young as well.
 */
async function lastingIoTasksOf(main: number, holders: number[]): Promise<IoTask[]> {
  let before = await ioTasksOf(main, holders);
  for (let looks = 2; looks <= maxLooks; looks++) {
    await sleep(looksApartMs);
    const now = await ioTasksOf(main, holders);
    const wereThere = now.every(({ tid }) => before.some((task) => task.tid === tid));
    if (wereThere && areGrownUp(now)) return now;
    before = now;
  }
  return before;
}

/** By our own age: the time since boot that a container is told may be another than the one that tasks are born at. */
function areGrownUp(tasks: IoTask[]): boolean {
  const bornByTicks = ownIdentity().startTicks + (performance.now() - grownUpMs) / tickMs;
  const bornAtTicks = ({ tid }: IoTask) => readProcessStat(tid)?.startTicks;
  return tasks.every((task) => (bornAtTicks(task) ?? Number.POSITIVE_INFINITY) <= bornByTicks);
}

/**
 * All threads of the holders but the main one and the ptraced stubs of guest processes. The I/O helper is a process
 * of its own up to 6.14 and a thread of the main process from 6.15 (uml-facts §4): both are found here.
 */
async function ioTasksOf(main: number, holders: number[]): Promise<IoTask[]> {
  const tasks: IoTask[] = [];
  for (const pid of holders) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(goneOrForbidden(''));
    const isTraced = !/^TracerPid:\s*0$/m.test(status);
    if (isTraced) continue;
    const tids = await readdir(`/proc/${pid}/task`).catch(goneOrForbidden<string[]>([]));
    tasks.push(...tids.map(Number).flatMap((tid) => (tid === main ? [] : { pid, tid })));
  }
  return tasks;
}
