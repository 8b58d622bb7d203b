import type { DrillSettings } from '../config/drill-config.js';
import { type RootEntry, sandboxArgs } from '../sandbox-args.js';

/** A disk of the guest in the box: copies of ours, which it may write as it likes. */
export interface SandboxDisk {
  device: string;
  /** Of a raw image. */
  path: string;
  sizeBytes: number;
}

export interface SandboxOrder {
  /** Absolute path of the UML kernel. */
  kernel: string;
  settings: DrillSettings;
  disks: SandboxDisk[];
  /** Seen by us and by the guest under the same name, and not to be written by it: our sockets are there. */
  sharedDirectory: string;
  notifySocket: string;
  /** User and group that the guest runs as; null: we are no root, and it runs as ourselves. */
  user: number | null;
  /** What the host has at its root, as links or directories: `/lib`, `/lib64`, `/bin`, … */
  rootEntries: RootEntry[];
}

/** Where bwrap tells the number of the first process in the box. */
export const infoDescriptor = 4;
/** Where the guest has its own files: `/h/.uml/drill/mconsole` is its console. */
export const sandboxHome = '/h';
export const sandboxUmid = 'drill';
/** Directories that bwrap makes on the way to a file are closed to all but root: here there are none. */
const kernelInSandbox = '/kernel';
const memoryDirectory = '/dev/shm';

const mebibyte = 2 ** 20;
/** The kernel rounds its memory up, and has some small files beside it. */
const memorySlackBytes = 16 * mebibyte;
const homeBytes = mebibyte;
/** Private memory of each of its processes; the guest's own memory is shared (uml-facts §8), and counts elsewhere. */
const privateBytes = 64 * mebibyte;
/** Each process of the guest is one of the host. */
const maxProcesses = 1024;
const maxOpenFiles = 256;

/**
 * The command that boots the guest of a snapshot in a box: a file system of its own that holds the kernel, the system's
 * programs (read-only) and copies of the disks; no network, not even the host's abstract sockets; no other process to be
 * seen; no right that could be gained and few system calls to gain it by; bounds on memory, files, processes and time. UML brings `hostfs`: a root in the guest sees
 * what the kernel's process sees, which is why there is nothing to be seen. When bwrap ends, or whoever started it, all that is
 * in the box is killed. Pure.
 */
export function sandboxCommand(order: SandboxOrder): { command: string; args: string[] } {
  return { command: 'bwrap', args: [...bwrapArgs(order), '--', ...boundedKernel(order)] };
}

function bwrapArgs(order: SandboxOrder): string[] {
  const { kernel, disks, sharedDirectory, user, rootEntries } = order;
  return [
    ...sandboxArgs(user, rootEntries),
    ...['--info-fd', String(infoDescriptor)],
    ...['--proc', '/proc', '--dev', '/dev'],
    // The guest's memory is a file in it: this is what bounds it, whatever the kernel is made to do.
    ...smallTmpfs(memoryDirectory, memoryFileBytes(order)),
    ...smallTmpfs(sandboxHome, homeBytes),
    ...['--ro-bind', kernel, kernelInSandbox],
    // File by file: no directory of the host can be written.
    ...['--dir', '/disks', ...disks.flatMap(({ path }) => ['--bind', path, inSandbox(path)])],
    // Those that bwrap makes by itself on the way are closed to all but root.
    ...ancestorsOf(sharedDirectory).flatMap((path) => ['--perms', '0755', '--dir', path]),
    ...['--ro-bind', sharedDirectory, sharedDirectory],
    ...[
      '--chdir',
      sandboxHome,
      '--clearenv',
      '--setenv',
      'HOME',
      sandboxHome,
      '--setenv',
      'TMPDIR',
      memoryDirectory,
    ],
    ...['--setenv', 'PATH', '/usr/bin:/bin'],
  ];
}

/** `/run/user` of `/run/user/1000`, with those above it first. Pure. */
function ancestorsOf(path: string): string[] {
  const names = path.split('/').slice(1, -1);
  return names.map((_, index) => `/${names.slice(0, index + 1).join('/')}`);
}

const smallTmpfs = (path: string, sizeBytes: number) => [
  ...['--perms', '1777', '--size', String(sizeBytes), '--tmpfs', path],
];

/** In the box only their names are left. */
const inSandbox = (path: string) => `/disks/${path.slice(path.lastIndexOf('/') + 1)}`;

function boundedKernel(order: SandboxOrder): string[] {
  const { user, disks, settings } = order;
  const largestFile = Math.max(memoryFileBytes(order), ...disks.map(({ sizeBytes }) => sizeBytes));
  const identity = user === null ? [] : [`--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
  return [
    ...['setpriv', ...identity, '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs', '--'],
    // UML takes the gap that randomness leaves before its heap for memory of the guest.
    ...['setarch', '--addr-no-randomize'],
    ...['prlimit', '--core=0', `--data=${privateBytes}`, `--fsize=${largestFile}`],
    ...[`--nofile=${maxOpenFiles}`, `--cpu=${Math.ceil(settings.timeoutMs / 1000) + 10}`],
    // Counted per user: one that has other processes would have to share.
    ...(user === null ? [] : [`--nproc=${maxProcesses}`]),
    ...['--', kernelInSandbox, ...kernelArguments(order)],
  ];
}

function memoryFileBytes({ settings }: Pick<SandboxOrder, 'settings'>): number {
  return settings.memoryBytes + memorySlackBytes;
}

function kernelArguments({ settings, disks, notifySocket }: SandboxOrder): string[] {
  return [
    ...[`mem=${Math.floor(settings.memoryBytes / mebibyte)}M`, `umid=${sandboxUmid}`],
    // `d`: a raw disk may carry a COW header that its guest has forged (uml-facts, fact 14).
    ...disks.map(({ device, path }) => `${device}d=${inSandbox(path)}`),
    ...settings.arguments,
    ...['con=null', 'con0=null,fd:1', 'ssl=null', `mconsole=notify:${notifySocket}`],
  ];
}
