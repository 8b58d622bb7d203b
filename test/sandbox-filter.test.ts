import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCommand } from '../src/run-command.js';
import { rootLinks, sandboxArgs } from '../src/sandbox-args.js';
import { sandboxFilter } from '../src/sandbox-filter.js';
import { withTempDir } from './support/temp-dir.js';

const isRoot = process.getuid?.() === 0;
const architectures = {
  x64: { audit: 0xc000_003e, clone: 56, socket: 41, socketpair: 53, ioctl: 16 },
  arm64: { audit: 0xc000_00b7, clone: 220, socket: 198, socketpair: 199, ioctl: 29 },
};
type Arch = keyof typeof architectures;

const refused = [
  ...['mount', 'umount2', 'pivot_root', 'chroot', 'open_tree', 'move_mount', 'fsopen', 'fsconfig', 'fsmount'],
  ...['fspick', 'mount_setattr', 'unshare', 'setns', 'add_key', 'request_key', 'keyctl', 'bpf'],
  ...['perf_event_open', 'userfaultfd', 'fanotify_init', 'io_uring_setup', 'io_uring_enter'],
  ...['io_uring_register', 'name_to_handle_at', 'open_by_handle_at', 'lookup_dcookie', 'vmsplice', 'kcmp'],
  ...['pidfd_getfd', 'kexec_load', 'kexec_file_load', 'reboot', 'syslog', 'init_module', 'finit_module'],
  ...['delete_module', 'swapon', 'swapoff', 'acct', 'quotactl', 'quotactl_fd', 'settimeofday'],
  ...['clock_settime', 'adjtimex', 'clock_adjtime'],
];
const ofGuests = ['ptrace', 'process_vm_readv', 'process_vm_writev', 'modify_ldt'];

/** What the kernel answers to a call by a filter: `kill`, `allow` or the number of an error. */
function answer(filter: Buffer, audit: number, number: number, args: number[] = []): string | number {
  const call = Buffer.alloc(64);
  for (const [at, value] of [number, audit].entries()) call.writeUInt32LE(value, 4 * at);
  for (const [at, value] of args.entries()) call.writeUInt32LE(value, 16 + 8 * at);
  let loaded = 0;
  for (let at = 0; at < filter.length; at += 8) {
    const [code, value] = [filter.readUInt16LE(at), filter.readUInt32LE(at + 4)];
    const skip = (holds: boolean) => 8 * filter.readUInt8(at + (holds ? 2 : 3));
    if (code === 0x20) loaded = call.readUInt32LE(value);
    else if (code === 0x15) at += skip(loaded === value);
    else if (code === 0x25) at += skip(loaded > value);
    else if (code === 0x45) at += skip((loaded & value) !== 0);
    else if (code !== 0x06) throw new Error(`no such instruction: ${code}`);
    else if (value >>> 16 === 5) return value & 0xffff;
    else return value === 0x7fff_0000 ? 'allow' : value === 0x8000_0000 ? 'kill' : 'something else';
  }
  throw new Error('it has no end');
}

function filterFor(who: 'guest' | 'tool', arch: string): Buffer {
  const filter = sandboxFilter(who, arch);
  if (filter === null) throw new Error(`no filter for ${arch}`);
  return filter;
}

const refusedNumbers = (who: 'guest' | 'tool', arch: Arch) =>
  Array.from({ length: 467 }, (_, number) => number).filter(
    (number) => answer(filterFor(who, arch), architectures[arch].audit, number) === 1,
  );

test.each(['x64', 'arm64'] as const)('%s: no call gets round the filter by another numbering', (arch) => {
  const { audit, clone, socket, socketpair } = architectures[arch];
  for (const who of ['guest', 'tool'] as const) {
    const filter = filterFor(who, arch);
    // i386, and 32-bit ARM: whatever the number.
    for (const other of [0x4000_0003, 0x4000_0028]) expect(answer(filter, other, 0)).toBe('kill');
    for (const number of [435, 467, 0x4000_0000 + 272, 0xffff_ffff])
      expect(answer(filter, audit, number), `${number}`).toBe(38);
    for (const flag of [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000])
      expect(answer(filter, audit, clone, [flag + 17]), flag.toString(16)).toBe(1);
    expect(answer(filter, audit, clone, [0x3d_0f00])).toBe('allow');
    for (const call of [socket, socketpair]) {
      expect([0, 1, 2, 16, 17, 38].map((family) => answer(filter, audit, call, [family]))).toEqual(
        // AF_UNIX is for whoever can find a socket in the box.
        [1, 'allow', 1, 1, 1, 1],
      );
    }
  }
  // None is missing on one of them but modify_ldt.
  expect(refusedNumbers('guest', arch)).toHaveLength(refused.length + 2);
  expect(refusedNumbers('tool', arch)).toHaveLength(refused.length + 2 + (arch === 'x64' ? 4 : 3));
});

test('a machine whose calls are not known has no filter, and so no box', () => {
  expect(sandboxFilter('tool', 'riscv64')).toBe(null);
});

const perl = `-e '/begin'; for (@ARGV) { my ($n, @a) = map { $_ + 0 } split ','; syscall $n, @a } -e '/end'`;
/** Real calls by a program in a box, as strace tells them: by name, and what came of them. */
async function tried(
  who: 'guest' | 'tool',
  calls: number[][],
  user: number | null,
): Promise<Map<string, string>> {
  return await withTempDir(async (dir) => {
    const log = join(dir, 'log');
    const identity = isRoot ? ['--reuid=65534', '--regid=65534', '--clear-groups'] : [];
    const box = ['bwrap', ...sandboxArgs(user, await rootLinks()), '--dev', '/dev', '--'];
    const asUser = ['setpriv', ...identity, '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs'];
    const program = ['perl', '-e', perl, ...calls.map((call) => call.join(','))];
    const whole = user === null ? [...asUser, ...box, ...program] : [...box, ...asUser, ...program];
    await runCommand(['strace', '-f', '-o', log, ...whole], {
      timeoutMs: 60_000,
      atDescriptor3: filterFor(who, process.arch),
    });
    const text = await readFile(log, 'utf8');
    const lines = text
      .slice(text.indexOf('"/begin"'), text.indexOf('"/end"'))
      .matchAll(/^\d+ +(\w+)\(.* = (.*)$/gm);
    return new Map([...lines].map(([, name = '', end = '']) => [name, / (E[A-Z]+) /.exec(end)?.[1] ?? end]));
  });
}

test.each([
  ...(isRoot ? [['a box that root has made', 65534] as const] : []),
  ['a box of a user without rights, in a namespace of its own', null] as const,
])('%s: each call that is refused is the one that is meant, and fails', async (_, user) => {
  const arch = process.arch as Arch;
  const { clone, socket, socketpair, ioctl } = architectures[arch];
  const more = [
    [clone, 0x1000_0011],
    [socket, 2, 1, 0],
    [socketpair, 2, 1, 0, 0],
    [ioctl, 0, 0x5412, 0],
    [435, 0, 0],
  ];
  const bad = [-1, -1, -1, -1, -1];
  const calls = refusedNumbers('tool', arch).filter((number) => ![socket, socketpair].includes(number));
  const ends = await tried('tool', [...calls.map((number) => [number, ...bad]), ...more], user);
  const names = [
    ...refused,
    ...ofGuests.slice(0, arch === 'x64' ? 4 : 3),
    'clone',
    'socket',
    'socketpair',
    'ioctl',
  ];
  const wanted = Object.fromEntries(names.map((name) => [name, 'EPERM']));
  expect(Object.fromEntries(ends)).toEqual({ ...wanted, clone3: 'ENOSYS' });
});
