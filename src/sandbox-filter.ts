/**
 * Which system calls are refused in a box (seccomp, as a classic BPF program). What runs there may be led by what a guest has made, and
 * what is left to it then is the kernel of the host.
 *
 * A list of what is refused, not of what is allowed: a UML kernel is any version of a large program, with libraries of this host, and a
 * call missing from a list of the allowed would make a good snapshot fail its drill. What such a list has over ours is that it
 * refuses what nobody has thought of yet: numbers newer than those we have looked at do not exist in a box either.
 */

/** Of x86-64 and of arm64, which has not all of them. */
type Numbers = readonly [x64: number, arm64: number | null];

/** What no program in a box needs: it makes the walls anew, leads to young parts of the kernel, or is for the host's administrator. */
const neverNeeded: Record<string, Numbers> = {
  ...{ mount: [165, 40], umount2: [166, 39], pivot_root: [155, 41], chroot: [161, 51] },
  ...{ open_tree: [428, 428], move_mount: [429, 429], fsopen: [430, 430], fsconfig: [431, 431] },
  ...{ fsmount: [432, 432], fspick: [433, 433], mount_setattr: [442, 442] },
  ...{ unshare: [272, 97], setns: [308, 268] },
  ...{ add_key: [248, 217], request_key: [249, 218], keyctl: [250, 219] },
  ...{ bpf: [321, 280], perf_event_open: [298, 241], userfaultfd: [323, 282], fanotify_init: [300, 262] },
  ...{ io_uring_setup: [425, 425], io_uring_enter: [426, 426], io_uring_register: [427, 427] },
  ...{ name_to_handle_at: [303, 264], open_by_handle_at: [304, 265], lookup_dcookie: [212, 18] },
  ...{ vmsplice: [278, 75], kcmp: [312, 272], pidfd_getfd: [438, 438] },
  ...{ kexec_load: [246, 104], kexec_file_load: [320, 294], reboot: [169, 142], syslog: [103, 116] },
  ...{ init_module: [175, 105], finit_module: [313, 273], delete_module: [176, 106] },
  ...{ swapon: [167, 224], swapoff: [168, 225], acct: [163, 89] },
  ...{ quotactl: [179, 60], quotactl_fd: [443, 443] },
  ...{ settimeofday: [164, 170], clock_settime: [227, 112], adjtimex: [159, 171], clock_adjtime: [305, 266] },
};

/** What a UML kernel runs its guest's processes by, and is needed by nobody else. */
const neededByGuests: Record<string, Numbers> = {
  ...{ ptrace: [101, 117], process_vm_readv: [310, 270], process_vm_writev: [311, 271] },
  ...{ modify_ldt: [154, null] },
};

/** `clone3` hides its flags from a filter; libraries take `clone` where it is missing. */
const clone3: Numbers = [435, 435];

/** Calls that are refused by an argument: which of them it is, and how it is tested. */
const byArgument: { numbers: Numbers; argument: number; refused: Test }[] = [
  // CLONE_NEW…, all seven that `clone` knows.
  { numbers: [56, 220], argument: 0, refused: { anyBitOf: 0x7e02_0000 } },
  // `socket` and `socketpair` of anything but AF_UNIX.
  ...(
    [
      [41, 198],
      [53, 199],
    ] as const
  ).map((numbers) => ({ numbers, argument: 0, refused: { allBut: 1 } })),
  // TIOCSTI and TIOCLINUX: input for a terminal.
  ...[0x5412, 0x541c].map((only) => ({ numbers: [16, 29] as const, argument: 1, refused: { only } })),
];
type Test = { anyBitOf: number } | { allBut: number } | { only: number };

/** `removexattrat` of Linux 6.13: the last that was looked at. All from 424 on have the same number everywhere. */
const newestNumber = 466;

const architectures = {
  x64: { column: 0, auditArch: 0xc000_003e },
  arm64: { column: 1, auditArch: 0xc000_00b7 },
} as const;

const kill = 0x8000_0000;
const allow = 0x7fff_0000;
const errno = (number: number) => 0x0005_0000 + number;
const refusal = errno(1); // EPERM
const unknown = errno(38); // ENOSYS

/** Offsets in `struct seccomp_data`. The lower half of an argument is all that the kernel takes of those tested here. */
const numberAt = 0;
const archAt = 4;
const argumentAt = (index: number) => 16 + 8 * index;

/**
 * The filter for `bwrap --seccomp`. Pure.
 * @param who `guest`: a UML kernel; `tool`: anything else
 * @param arch as Node calls it
 * @returns null: not known for this architecture, and then there MUST be no box
 */
export function sandboxFilter(who: 'guest' | 'tool', arch: string): Buffer | null {
  const known = arch === 'x64' || arch === 'arm64' ? architectures[arch] : null;
  if (known === null) return null;
  const numberOf = (numbers: Numbers) => numbers[known.column];
  const refused = { ...neverNeeded, ...(who === 'tool' && neededByGuests) };
  return Buffer.concat([
    load(archAt),
    // A 32-bit program on a 64-bit kernel, or one that changes over: other numbers, for all of the kernel.
    ...[jump('=', known.auditArch, 1, 0), give(kill)],
    load(numberAt),
    // x32 as well: its numbers have a high bit.
    ...[jump('>', newestNumber, 0, 1), give(unknown)],
    ...[jump('=', numberOf(clone3) ?? 0, 0, 1), give(unknown)],
    ...Object.values(refused).flatMap((numbers) => {
      const number = numberOf(numbers);
      return number === null ? [] : [jump('=', number, 0, 1), give(refusal)];
    }),
    ...byArgument.flatMap(({ numbers, argument, refused: test }) => [
      ...[jump('=', numberOf(numbers) ?? 0, 0, 4), load(argumentAt(argument))],
      ...[testing(test), give(refusal), load(numberAt)],
    ]),
    give(allow),
  ]);
}

/** Goes on with the next instruction where it is to be refused, else with the one after that. */
function testing(test: Test): Buffer {
  if ('anyBitOf' in test) return jump('&', test.anyBitOf, 0, 1);
  return 'only' in test ? jump('=', test.only, 0, 1) : jump('=', test.allBut, 1, 0);
}

const load = (offset: number) => instruction(0x20, 0, 0, offset);
const give = (answer: number) => instruction(0x06, 0, 0, answer);
const jump = (how: '=' | '>' | '&', value: number, skipIf: number, skipElse: number) =>
  instruction({ '=': 0x15, '>': 0x25, '&': 0x45 }[how], skipIf, skipElse, value);

/** `struct sock_filter`; both architectures are little-endian. */
function instruction(code: number, skipIf: number, skipElse: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(skipIf, 2);
  bytes.writeUInt8(skipElse, 3);
  bytes.writeUInt32LE(value, 4);
  return bytes;
}
