import { fstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import { readProcessStat } from '../../process-identity.js';

/** Who else could write an image: by a descriptor, a mapping into memory, or a loop device. */

const O_ACCMODE = 3;
/** Gone (of a loop device: ENODEV), or a process that even root may not look into where root has not all rights (a container). */
const notForUs = ['ENOENT', 'ENODEV', 'ESRCH', 'EACCES', 'EPERM'];

/** The images by device and inode. */
export class ImageSet {
  readonly #disks = new Map<string, number>();

  /** @param disks descriptors of the images */
  constructor(disks: { fd: number }[]) {
    for (const [index, { fd }] of disks.entries()) {
      const { dev, ino } = fstatSync(fd, { bigint: true });
      this.#disks.set(`${dev}:${ino}`, index);
    }
  }

  /** Which disk is the file at this path, `null` when it is none, `undefined` when there is no such file. */
  diskAt(path: string): number | null | undefined {
    try {
      const { dev, ino } = statSync(path, { bigint: true });
      return this.#disks.get(`${dev}:${ino}`) ?? null;
    } catch (error) {
      if (notForUs.includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
  }
}

/**
 * Looks once through all processes and loop devices. Processes that we may not look into are passed over: the watch tells of
 * their writes, only their mappings stay unseen.
 * @returns who could write an image and is not expected to, for people
 * @param guestPids they and their children may hold the images open, and not map them
 */
export function findOtherWriter(images: ImageSet, guestPids: number[]): string | null {
  for (const pid of processIds()) {
    if (pid === process.pid) continue;
    if (isForeign(pid, guestPids) && holdsForWriting(images, pid)) {
      return `${describeProcess(pid)} has a disk open for writing as well`;
    }
    if (mapsForWriting(images, pid)) return `${describeProcess(pid)} has a disk mapped into its memory`;
  }
  return findLoopDevice(images);
}

/**
 * The processes in a guest are children of its main one, which come and go, each with a copy of its descriptors. What is gone
 * is nobody.
 */
export function isForeign(pid: number, guestPids: number[]): boolean {
  for (let at = pid; at > 1; ) {
    if (guestPids.includes(at)) return false;
    const stat = readProcessStat(at);
    if (stat === undefined) return at !== pid;
    at = stat.parentPid;
  }
  return true;
}

/**
 * Who has an image mapped into memory for writing, for people; null for nobody that we may look into. What is stored through a
 * mapping raises no event, and touches no time stamp until long after.
 */
export function findMapping(images: ImageSet): string | null {
  for (const pid of processIds()) {
    if (mapsForWriting(images, pid)) return `${describeProcess(pid)} has a disk mapped into its memory`;
  }
  return null;
}

function processIds(): number[] {
  return listDir('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Whether the process (or thread) has a descriptor by which it could write an image. */
export function holdsForWriting(images: ImageSet, pid: number): boolean {
  return listDir(`/proc/${pid}/fd`).some((fd) => {
    if (typeof images.diskAt(`/proc/${pid}/fd/${fd}`) !== 'number') return false;
    return (openFlags(`/proc/${pid}/fdinfo/${fd}`) & O_ACCMODE) !== 0;
  });
}

/** The flags of open(2) of a descriptor, from its fdinfo; 0 when it is gone. */
export function openFlags(fdinfo: string): number {
  return Number.parseInt(/^flags:\s*([0-7]+)/m.exec(readProc(fdinfo))?.[1] ?? '0', 8);
}

/** Whether a store into the process's memory could change an image. */
export function mapsForWriting(images: ImageSet, pid: number): boolean {
  const ranges = new Map<string, string>();
  for (const line of readProc(`/proc/${pid}/maps`).split('\n')) {
    const [range = '', access = '', , device, inode] = line.split(/\s+/, 5);
    // A guest's memory is one file, mapped in thousands of pieces.
    if (access[1] === 'w' && access[3] === 's') ranges.set(`${device} ${inode}`, range);
  }
  return [...ranges.values()].some(
    (range) => typeof images.diskAt(`/proc/${pid}/map_files/${shortRange(range)}`) === 'number',
  );
}

/** `maps` writes addresses with leading zeros, `map_files` without. */
function shortRange(range: string): string {
  return range
    .split('-')
    .map((address) => address.replace(/^0+(?=.)/, ''))
    .join('-');
}

function findLoopDevice(images: ImageSet): string | null {
  for (const name of listDir('/sys/block').filter((name) => name.startsWith('loop'))) {
    const file = readProc(`/sys/block/${name}/loop/backing_file`).replace(/\n$/, '');
    if (file === '' || typeof images.diskAt(file) !== 'number') continue;
    if (readProc(`/sys/block/${name}/ro`).trim() !== '1') return `a disk is in use as /dev/${name} as well`;
  }
  return null;
}

/** Its pid and name, for people. */
export function describeProcess(pid: number): string {
  const name = readProc(`/proc/${pid}/comm`).trim();
  return name === '' ? `process ${pid}, which has ended,` : `process ${pid} (${name})`;
}

/** Empty when it is not there (any more) or not for us. */
function readProc(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (notForUs.includes(errnoOf(error) ?? '')) return '';
    throw error;
  }
}

function listDir(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (notForUs.includes(errnoOf(error) ?? '')) return [];
    throw error;
  }
}
