import { realpath } from 'node:fs/promises';
import { isError, UmlsnapError } from '../errors.js';
import { runCommand } from '../run-command.js';
import { rootLinks, sandboxArgs } from '../sandbox-args.js';
import { sandboxFilter } from '../sandbox-filter.js';

/** A box for programs of e2fsprogs, which read what a guest has made of its disk. */
export interface ToolSandbox {
  image: string;
  /** e2fsck writes into it. */
  isImageWritable: boolean;
  /** Where debugfs may write; its working directory. */
  outputDirectory: string | null;
  /** Whom they run as where we are root; null: ourselves. */
  user: number | null;
  /** Of each file that is written. */
  maxFileBytes: number;
}

const imageInBox = '/image';
const outputInBox = '/output';
const limitMs = 30 * 60_000;
const memoryBytes = 2 ** 30;
const maxOutputBytes = 256 * 2 ** 20;

/**
 * Runs a program of e2fsprogs on an image, in a file system that holds nothing but the image, the directory that it may write to
 * and the system's programs: whatever an image makes it do, it can do it to nobody else.
 * @param args `{image}` stands for the image
 * @returns what it printed
 * @throws FilesImpossible, CommandFailed, or the signal's reason
 */
export async function runInToolSandbox(
  sandbox: ToolSandbox,
  program: 'debugfs' | 'e2fsck',
  args: string[],
  options: { input?: string; okExitCodes: number[]; signal: AbortSignal },
): Promise<string> {
  const path = await realpath(`/usr/sbin/${program}`).catch((error: unknown) => {
    throw new UmlsnapError('FilesImpossible', { problem: `${program} is not installed (e2fsprogs)` }, error);
  });
  const filter = sandboxFilter('tool', process.arch);
  if (filter === null)
    throw new UmlsnapError('FilesImpossible', { problem: `there is no box for ${process.arch}` });
  const argv = [
    ...(await bwrapArgs(sandbox)),
    ...bounds(sandbox),
    path,
    ...args.map((one) => (one === '{image}' ? imageInBox : one)),
  ];
  try {
    const { stdout } = await runCommand(['bwrap', ...argv], {
      ...options,
      atDescriptor3: filter,
      timeoutMs: limitMs,
      maxOutputBytes,
    });
    return stdout;
  } catch (error) {
    if (!isError(error, 'CommandFailed') || !/not installed|bwrap: /.test(error.facts.problem)) throw error;
    throw new UmlsnapError(
      'FilesImpossible',
      { problem: `bwrap (bubblewrap): ${error.facts.problem}` },
      error,
    );
  }
}

async function bwrapArgs({ image, isImageWritable, outputDirectory, user }: ToolSandbox): Promise<string[]> {
  return [
    ...sandboxArgs(user, await rootLinks()),
    ...['--dev', '/dev', isImageWritable ? '--bind' : '--ro-bind', image, imageInBox],
    ...(outputDirectory === null
      ? ['--chdir', '/']
      : ['--bind', outputDirectory, outputInBox, '--chdir', outputInBox]),
    ...['--clearenv', '--setenv', 'LC_ALL', 'C', '--setenv', 'PATH', '/usr/bin:/bin:/usr/sbin:/sbin', '--'],
  ];
}

function bounds({ user, maxFileBytes }: ToolSandbox): string[] {
  const identity = user === null ? [] : [`--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
  return [
    ...['setpriv', ...identity, '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs', '--'],
    ...['prlimit', '--core=0', `--data=${memoryBytes}`, `--fsize=${maxFileBytes}`],
    ...[`--cpu=${limitMs / 1000}`, '--nofile=64', '--'],
  ];
}
