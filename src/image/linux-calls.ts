import koffi from 'koffi';
import { lastError } from './last-error.js';

/**
 * The few Linux system calls that Node lacks. Every failure is an ordinary error of Node's kind: `code` (`ENOSPC`),
 * `errno` and `syscall`. What may take long exists as a promise only and runs off the main thread.
 */

const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** `_IOW(0x94, 9, int)` and `_IOW(0x94, 13, struct file_clone_range)` of linux/fs.h. */
const FICLONE = 0x40049409;
const FICLONERANGE = 0x4020940d;
const AT_FDCWD = -100;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const MFD_CLOEXEC = 1;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const SYNC_FILE_RANGE_WAIT_BEFORE = 1;
const SYNC_FILE_RANGE_WRITE = 2;
const SYNC_FILE_RANGE_WAIT_AFTER = 4;
const POSIX_FADV_DONTNEED = 4;
const IOPRIO_WHO_PROCESS = 1;
const IOPRIO_IDLE = 3 << 13;
/** The C library has no function for `ioprio_set`, and its number differs from machine to machine. */
const ioprioSetNumbers: Partial<Record<NodeJS.Architecture, number>> = {
  arm: 314,
  arm64: 30,
  loong64: 30,
  ppc64: 273,
  riscv64: 30,
  s390x: 282,
  x64: 251,
};

const libc = koffi.load(null);
const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const ioctlNumber = libc.func('int ioctl(int fd, unsigned long request, intptr_t argument)');
const ioctlBuffer = libc.func('int ioctl(int fd, unsigned long request, void *argument)');
const sendfile = libc.func('int64_t sendfile(int target, int source, void *sourceOffset, size_t length)');
const renameat2 = libc.func('int renameat2(int fromDir, str from, int toDir, str to, unsigned int flags)');
const fcntlBuffer = libc.func('int fcntl(int fd, int command, void *argument)');
const flock = libc.func('int flock(int fd, int operation)');
const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const syncFileRange = libc.func(
  'int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)',
);
const posixFadvise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
const memfdCreate = libc.func('int memfd_create(str name, unsigned int flags)');
const systemCall = libc.func('long syscall(long number, long a, long b, long c)');
const prctl = libc.func(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
);

/**
 * Where data begins at or after `offset`; null when only a hole is left. A file system that knows no holes answers
 * `offset` itself.
 */
export function seekData(fd: number, offset: number): number | null {
  return seek(fd, offset, SEEK_DATA);
}

/** Where the next hole begins at or after `offset` (at the latest the file's end); null at or beyond the end. */
export function seekHole(fd: number, offset: number): number | null {
  return seek(fd, offset, SEEK_HOLE);
}

function seek(fd: number, offset: number, whence: number): number | null {
  const position: number | bigint = lseek(fd, offset, whence);
  if (position !== -1) return Number(position);
  const error = lastError('lseek');
  // ENXIO is the answer "nothing of that kind any more".
  if (error.code === 'ENXIO') return null;
  throw error;
}

/**
 * Copies a stretch within the kernel, to the same offset of the target, and so saves a copy through our memory. It moves the
 * target's file position. Never shares blocks (`copy_file_range` would), and works from one file system to another.
 * @returns how many bytes were copied; 0 when the kernel would not, for whatever reason: reading and writing then tells it
 */
export function copyInKernel(sourceFd: number, targetFd: number, offset: number, length: number): number {
  if (Number(lseek(targetFd, offset, SEEK_SET)) !== offset) return 0;
  const sourceOffset = new BigInt64Array([BigInt(offset)]);
  return Math.max(0, Number(sendfile(targetFd, sourceFd, sourceOffset, length)));
}

/** Makes a stretch of the file a hole, whatever it held; its size stays. EOPNOTSUPP where the file system can't. */
export function punchHole(fd: number, offset: number, length: number): void {
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) === -1) {
    throw lastError('fallocate');
  }
}

/** Has the kernel begin to write a stretch of the file to its disk. No promise of durability: that is fsync's. */
export function startWriteBack(fd: number, offset: number, length: number): void {
  if (syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE) === -1) throw lastError('sync_file_range');
}

/** Writes a stretch of the file to its disk and waits for that. */
export function writeBackBlocking(fd: number, offset: number, length: number): void {
  const flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (syncFileRange(fd, offset, length, flags) === -1) throw lastError('sync_file_range');
}

/**
 * Has the kernel forget what it holds of a stretch of the file in memory, apart from what is not written yet; a length of 0 means
 * up to the end. What is read next comes from the disk. It is advice: where it is not taken, nothing changes.
 */
export function forgetCached(fd: number, offset: number, length: number): void {
  posixFadvise(fd, offset, length, POSIX_FADV_DONTNEED);
}

/**
 * From now on this thread reads and writes disks only when nobody else does, where the disk's scheduler knows of that.
 * @returns false where the kernel would not, or the machine's number for the call is not known
 */
export function setIdleIoPriority(): boolean {
  const number = ioprioSetNumbers[process.arch];
  return number !== undefined && Number(systemCall(number, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE)) === 0;
}

/**
 * Makes the target share all blocks of the source (`FICLONE`). Dirty pages of the source are written out first, which can
 * block for long: for a process that has nothing else to do.
 */
export function cloneFileBlocking(sourceFd: number, targetFd: number): void {
  if (ioctlNumber(targetFd, FICLONE, sourceFd) === -1) throw lastError('ioctl(FICLONE)');
}

/** A file without a place, which lives as long as a process has it open. To be closed. */
export function memoryFile(name: string): number {
  const fd = memfdCreate(name, MFD_CLOEXEC);
  if (fd === -1) throw lastError('memfd_create');
  return fd;
}

/** Makes the target's first `lengthBytes` share the source's blocks (`FICLONERANGE`); 0 means up to the end. */
export async function cloneStart(sourceFd: number, targetFd: number, lengthBytes: number): Promise<void> {
  // struct file_clone_range { s64 src_fd; u64 src_offset, src_length, dest_offset }
  const range = new BigInt64Array([BigInt(sourceFd), 0n, BigInt(lengthBytes), 0n]);
  await callAsync('ioctl(FICLONERANGE)', ioctlBuffer, targetFd, FICLONERANGE, range);
}

/** Renames; an existing target is never replaced, not even an empty directory (EEXIST). */
export async function renameNoReplace(from: string, to: string): Promise<void> {
  await callAsync('renameat2', renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

/** Gives each of two names what the other one had, at one instant. @throws EINVAL where the filesystem can't */
export async function renameExchange(one: string, other: string): Promise<void> {
  await callAsync('renameat2', renameat2, AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

/**
 * Takes a lock on the whole file, of the kind that meets the locks UML takes on its disks (fcntl), without waiting. It belongs to
 * the open file and is gone with its last descriptor, at the latest with this process. By the way of threads, for the file may lie
 * on another host.
 * @returns false when another open file has a lock that does not go with it
 */
export async function tryLockWholeFile(fd: number, kind: 'read' | 'write'): Promise<boolean> {
  try {
    const lock = wholeFile(kind === 'read' ? F_RDLCK : F_WRLCK);
    await callAsync('fcntl(F_OFD_SETLK)', fcntlBuffer, fd, F_OFD_SETLK, lock);
    return true;
  } catch (error) {
    if (['EAGAIN', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** Whether `tryLockWholeFile` would be refused to a writer. Takes nothing, so that nobody else is refused by it. */
export async function isLockedByOthers(fd: number): Promise<boolean> {
  const lock = wholeFile(F_WRLCK);
  await callAsync('fcntl(F_OFD_GETLK)', fcntlBuffer, fd, F_OFD_GETLK, lock);
  return lock.readInt16LE(0) !== F_UNLCK;
}

/** struct flock { s16 type, whence; s64 start, len; s32 pid } with the padding of 64-bit machines. */
function wholeFile(type: number): Buffer {
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(type, 0);
  return lock;
}

/**
 * Takes a lock on an open file or directory, without waiting. It belongs to what was opened and is gone with its last
 * descriptor, at the latest with this process.
 * @returns false when others hold one that does not go with it
 */
export function tryFlock(fd: number, kind: 'shared' | 'exclusive'): boolean {
  if (flock(fd, (kind === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB) === 0) return true;
  const error = lastError('flock');
  if (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK') return false;
  throw error;
}

/**
 * From now on this process is killed when the thread that started it ends, however that happens. The caller compares
 * its parent's pid afterwards: a parent that ended before this call sends nothing.
 */
export function dieWithParent(): void {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) !== 0) throw lastError('prctl(PR_SET_PDEATHSIG)');
}

type LibcFunction = ReturnType<typeof libc.func>;

function callAsync(name: string, call: LibcFunction, ...args: unknown[]): Promise<void> {
  return new Promise((resolve, reject) => {
    call.async(...args, (failure: Error | null, result: number) => {
      if (failure) reject(failure);
      // koffi carries the errno of the call's own thread over to its callback.
      else if (result === -1) reject(lastError(name));
      else resolve();
    });
  });
}
