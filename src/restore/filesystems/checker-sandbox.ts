import { isError } from '../../errors.js';
import { runCommand } from '../../run-command.js';
import { rootLinks, sandboxArgs } from '../../sandbox-args.js';
import { sandboxFilter } from '../../sandbox-filter.js';

/** The copy's directory as the only one of the host's that a checker can write, and little else of the host to be seen. */
export type CheckerSandbox =
  | { is: 'there'; command: [string, ...string[]]; filter: Buffer }
  /** It runs without one then, as it did before there was one. */
  | { is: 'missing'; problem: string };

/** Where a checker is looked for, and bwrap. */
export const searched = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/bin', '/bin', '/usr/local/bin'];
export const checkerEnvironment = { PATH: searched.join(':'), LC_ALL: 'C', HOME: '/nonexistent' };

const directoryInBox = '/check';
const limitMs = 60_000;

/**
 * What puts a checker into a box, working in the directory, or why that can't be done on this host. It is tried out with a program that
 * reads nothing of a guest's: what a checker says or exits with MUST NOT be what lets it out of the box.
 * @param user whom it will run as; null: as ourselves, who are not root
 * @throws the signal's reason
 */
export async function checkerSandbox(
  directory: string,
  user: { uid: number } | null,
  signal: AbortSignal,
): Promise<CheckerSandbox> {
  const filter = sandboxFilter('tool', process.arch);
  if (filter === null) return { is: 'missing', problem: `there is none for ${process.arch}` };
  const command: [string, ...string[]] = [
    ...(['bwrap', ...sandboxArgs(user?.uid ?? null, await rootLinks())] as const),
    // Checkers may be installed there, with their libraries.
    ...['--ro-bind', '/usr/local', '/usr/local', '--dev', '/dev'],
    ...['--bind', directory, directoryInBox, '--chdir', directoryInBox, '--'],
  ];
  try {
    const options = { signal, timeoutMs: limitMs, env: checkerEnvironment, atDescriptor3: filter };
    await runCommand([...command, 'true'], options);
    return { is: 'there', command, filter };
  } catch (error) {
    if (!isError(error, 'CommandFailed')) throw error;
    return { is: 'missing', problem: `bwrap (bubblewrap): ${error.facts.problem}` };
  }
}
