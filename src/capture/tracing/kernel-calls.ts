import koffi from 'koffi';
import { lastError } from '../../image/last-error.js';

/** The system calls that tracing and the watch over an image need, and that Node lacks. */

const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const AT_FDCWD = -100;
const FAN_CLOEXEC = 0x1;
const FAN_NONBLOCK = 0x2;
const FAN_REPORT_TID = 0x100;
const FAN_MARK_ADD = 0x1;
const O_RDONLY_CLOEXEC_LARGEFILE = 0o2100000;

export const markCall = 'fallocate';
/** Of no copy's fallocate: those punch holes. */
export const markMode = 0;

const libc = koffi.load(null);
const mount = libc.func('int mount(str source, str target, str type, unsigned long flags, void *data)');
const read = libc.func('int64_t read(int fd, void *buffer, size_t count)');
const pread = libc.func('int64_t pread(int fd, void *buffer, size_t count, int64_t offset)');
const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const gettid = libc.func('int gettid()');
const fanotifyInit = libc.func('int fanotify_init(unsigned int flags, unsigned int eventFlags)');
const fanotifyMark = libc.func(
  'int fanotify_mark(int group, unsigned int flags, uint64_t mask, int dirFd, str path)',
);

/** @throws Error with `code` (EPERM for want of rights, ENODEV when the kernel has none, EBUSY) */
export function mountTracefs(target: string): void {
  const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount('tracefs', target, 'tracefs', flags, null) !== 0) throw lastError('mount');
}

/**
 * Reads from where the descriptor stands, without an exception for "nothing there": this runs every few milliseconds.
 * @returns the bytes read; 0 when there is nothing
 */
export function readAvailable(fd: number, buffer: Buffer): number {
  const got = Number(read(fd, buffer, buffer.length));
  if (got >= 0) return got;
  const error = lastError('read');
  if (error.code === 'EAGAIN' || error.code === 'EINTR') return 0;
  throw error;
}

/** A small file of /proc or tracefs as it is now, read again from its start. */
export function readFromStart(fd: number, buffer: Buffer): string {
  const got = Number(pread(fd, buffer, buffer.length, 0));
  if (got < 0) throw lastError('pread');
  return buffer.toString('latin1', 0, got);
}

/** Does nothing (there is no descriptor -1), and shows up in a trace as a `markCall` with these two numbers. */
export function setMark(offset: number, length: number): void {
  fallocate(-1, markMode, offset, length);
}

/** Id of the calling thread, in its own pid namespace. */
export function ownThreadId(): number {
  return gettid();
}

/** A queue of what happens to files, which names threads, and never blocks. The caller closes it. */
export function openFileWatch(): number {
  const fd = fanotifyInit(FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_TID, O_RDONLY_CLOEXEC_LARGEFILE);
  if (fd < 0) throw lastError('fanotify_init');
  return fd;
}

/** From now on the watch is told what `mask` names about the file at `path`, whatever name it goes by. */
export function watchFile(watchFd: number, mask: number, path: string): void {
  if (fanotifyMark(watchFd, FAN_MARK_ADD, mask, AT_FDCWD, path) !== 0) throw lastError('fanotify_mark');
}
