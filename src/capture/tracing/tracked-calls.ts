/** The system calls by which a thread may change a disk, and what each did to it. Pure. */

/** Which disk a descriptor stands for; `unknown` when it was gone before we could look. */
export type DescriptorKind =
  | { type: 'disk'; disk: number; appends: boolean }
  | { type: 'other' }
  | { type: 'unknown' };

export type CallEffect =
  | { type: 'nothing' }
  | { type: 'write'; disk: number; offset: number; length: number }
  | { type: 'doubt'; problem: string };

export interface CallKind {
  /** As in `sys_enter_NAME`. */
  name: string;
  /** Its number on x86-64. */
  number: number;
  /** Names of the arguments that `effect` is given, as the kernel's format names them. */
  args: readonly string[];
  /** Whether the kernel adds what the call returns to the thread's `wchar`. */
  counted: boolean;
  /** Every kernel has it. Without the events of others a kernel does not have the calls themselves. */
  needed: boolean;
  effect(args: readonly number[], result: number, kindOf: (fd: number) => DescriptorKind): CallEffect;
}

const nothing: CallEffect = { type: 'nothing' };
const EBADF = -9;
const nothingDone = [
  EBADF,
  -11 /* EAGAIN */,
  -22 /* EINVAL */,
  -29 /* ESPIPE */,
  -4 /* EINTR */,
  -95 /* EOPNOTSUPP */,
];
const ERESTARTSYS = -512;
const RWF_APPEND = 0x10;
const MAP_SHARED = 1;
const punchKeepZeroUnshare = 0x01 | 0x02 | 0x10 | 0x40;
/** Questions about a file: TCGETS, FIONREAD, FS_IOC_FIEMAP, BLKGETSIZE64, BLKSSZGET, FIGETBSZ. */
const harmlessIoctls = [0x5401, 0x541b, 0xc020660b, 0x80081272, 0x1268, 0x2];

export const trackedCalls: readonly CallKind[] = [
  {
    ...call('pwrite64', 18, ['fd', 'count', 'pos'], true),
    effect: ([fd = -1, count = 0, pos = 0], result, kindOf) => {
      // A write that failed may have changed some of its range all the same (O_SYNC, a fault half-way).
      return result === EBADF ? nothing : placed('pwrite64', kindOf(fd), pos, count);
    },
  },
  {
    ...call('pwritev', 296, ['fd', 'pos_l'], true),
    effect: ([fd = -1, pos = 0], result, kindOf) => vector('pwritev', kindOf(fd), pos, 0, result),
  },
  {
    ...call('pwritev2', 328, ['fd', 'pos_l', 'flags'], true),
    effect: ([fd = -1, pos = 0, flags = 0], result, kindOf) =>
      vector('pwritev2', kindOf(fd), pos, flags, result),
  },
  { ...call('write', 1, ['fd'], true), effect: unplaced('write') },
  { ...call('writev', 20, ['fd'], true), effect: unplaced('writev') },
  {
    ...call('fallocate', 285, ['fd', 'mode', 'offset', 'len'], false),
    effect: ([fd = -1, mode = 0, offset = 0, length = 0], result, kindOf) => {
      if (result === EBADF) return nothing;
      const kind = kindOf(fd);
      if (kind.type !== 'disk') return named('was changed by a fallocate', kind);
      if ((mode & ~punchKeepZeroUnshare) === 0) return { type: 'write', disk: kind.disk, offset, length };
      return nothingDone.includes(result)
        ? nothing
        : doubt(`a fallocate of mode ${mode} moved what is on a disk`);
    },
  },
  { ...call('ftruncate', 77, ['fd'], false), effect: unplaced('ftruncate') },
  {
    ...call('truncate', 76, [], false),
    effect: (_, result) =>
      result < 0 ? nothing : doubt('a file was cut or extended by its name (truncate)'),
  },
  { ...call('sendfile64', 40, ['out_fd'], true), effect: unplaced('sendfile') },
  { ...call('copy_file_range', 326, ['fd_out'], true), effect: unplaced('copy_file_range') },
  { ...call('splice', 275, ['fd_out'], false), effect: unplaced('splice') },
  { ...call('io_submit', 209, [], false), effect: asynchronous('io_submit') },
  { ...call('io_uring_setup', 425, [], false), effect: asynchronous('io_uring') },
  { ...call('io_uring_enter', 426, [], false), effect: asynchronous('io_uring') },
  {
    ...call('mmap', 9, ['fd', 'flags'], false),
    effect: ([fd = -1, flags = 0], result, kindOf) => {
      if ((flags & MAP_SHARED) === 0 || (fd | 0) < 0 || (result < 0 && result >= -4095)) return nothing;
      return named('was mapped into memory (mmap)', kindOf(fd));
    },
  },
  {
    ...call('ioctl', 16, ['fd', 'cmd'], false),
    effect: ([fd = -1, command = 0], result, kindOf) => {
      const number = command >>> 0;
      if (result < 0 || harmlessIoctls.includes(number)) return nothing;
      const kind = kindOf(fd);
      // Descriptors that are gone were those of something else: nobody closes a disk unseen.
      return kind.type === 'unknown'
        ? nothing
        : named(`was changed by an ioctl (0x${number.toString(16)})`, kind);
    },
  },
];

function call(name: string, number: number, args: readonly string[], counted: boolean) {
  const needed = ['pwrite64', 'write', 'writev', 'pwritev', 'fallocate', 'ftruncate', 'mmap', 'ioctl'];
  return { name, number, args, counted, needed: needed.includes(name) };
}

function doubt(problem: string): CallEffect {
  return { type: 'doubt', problem };
}

/** What a call means that we can't place: nothing when it was no disk's. */
function named(what: string, kind: DescriptorKind): CallEffect {
  if (kind.type === 'other') return nothing;
  if (kind.type === 'unknown') return doubt(`a file that may have been a disk ${what}`);
  return doubt(`a disk ${what}`);
}

function placed(name: string, kind: DescriptorKind, offset: number, length: number): CallEffect {
  if (kind.type === 'disk' && !kind.appends) return { type: 'write', disk: kind.disk, offset, length };
  return named(`was written at an unknown place (${name})`, kind);
}

function vector(name: string, kind: DescriptorKind, pos: number, flags: number, result: number): CallEffect {
  if (nothingDone.includes(result) || result === ERESTARTSYS) return nothing;
  // The length stands in the caller's memory: what a failed call has written is unknown.
  const isPlaced = result >= 0 && pos >= 0 && (flags & RWF_APPEND) === 0;
  return isPlaced
    ? placed(name, kind, pos, result)
    : named(`was written at an unknown place (${name})`, kind);
}

function unplaced(name: string): CallKind['effect'] {
  return ([fd = -1], result, kindOf) =>
    nothingDone.includes(result) ? nothing : named(`was written at an unknown place (${name})`, kindOf(fd));
}

function asynchronous(name: string): CallKind['effect'] {
  return (_, result) =>
    result < 0 ? nothing : doubt(`a thread that writes the disks uses ${name}, which can't be followed`);
}
