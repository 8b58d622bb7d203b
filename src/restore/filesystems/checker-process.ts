import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { constants as ofProcesses } from 'node:os';
import { join } from 'node:path';
import { isError, UmlsnapError } from '../../errors.js';
import { printable } from '../../mconsole/printable.js';
import { runCommand } from '../../run-command.js';
import { type CheckerSandbox, checkerEnvironment, searched } from './checker-sandbox.js';

/**
 * Programs that read what a guest has written, and may have been fed to make them do what the guest wants: as a user that owns
 * nothing but the copy, in a box where there is one, without new privileges, within limits, at the lowest priority, and ended with us.
 */
export interface CheckerOptions {
  /** Its working directory: the copy lies there. */
  directory: string;
  /** null: as ourselves, who are not root. */
  user: { uid: number; gid: number } | null;
  sandbox: CheckerSandbox;
  /** The largest file that it may write; null: no limit, for a checker that wants to set this by itself, and ends where it may not. */
  fileBytes: number | null;
  signal: AbortSignal;
}

export type CheckerEnd =
  | { ended: 'byItself'; exitCode: number; output: string }
  /** It has not come to an end of its own, which says nothing of the filesystem. */
  | { ended: 'otherwise'; reason: string; output: string };

/** Enough for some TiB; a checker that asks for more is refused it, and ends. */
const memoryBytes = 4 * 2 ** 30;
const timeLimitMs = 2 * 60 * 60_000;
/** Of its beginning, where the first complaint stands, and of its end. */
const keptChars = { first: 1500, last: 3000 };
/** A line that is longer ends the run: nothing that we start writes one. */
const maxLineBytes = 256 * 1024;
/** Of the programs that confine it, when the next one can't be run: no checker has these. */
const notStarted = [126, 127];
const anyExitCode = Array.from({ length: 256 }, (_, code) => code);

/** Runs a checker to its end. */
export async function runChecker(
  [program, ...args]: readonly [string, ...string[]],
  options: CheckerOptions,
): Promise<CheckerEnd> {
  const file = await findProgram(program);
  if (file === undefined) return { ended: 'otherwise', reason: `${program} is not installed`, output: '' };
  const output = new KeptOutput();
  const { directory, user, sandbox, signal } = options;
  try {
    const { exitCode } = await runCommand([...confinement(options), file, ...args], {
      ...{ signal, cwd: directory, timeoutMs: timeLimitMs, maxOutputBytes: maxLineBytes },
      env: checkerEnvironment,
      // As root we make a box without a namespace for users; the checker becomes its user in it.
      ...(sandbox.is === 'there'
        ? { atDescriptor3: sandbox.filter }
        : user && { uid: user.uid, gid: user.gid }),
      okExitCodes: anyExitCode,
      onLine: output.take,
      onErrorLine: output.take,
    });
    const reason = reasonOfEnd(program, exitCode);
    if (reason === null) return { ended: 'byItself', exitCode, output: output.text() };
    return { ended: 'otherwise', reason, output: output.text() };
  } catch (error) {
    signal.throwIfAborted();
    if (!isError(error, 'CommandFailed')) throw error;
    const { command, problem } = error.facts;
    const [reason = ''] = problem.split('; it said:');
    // Before it has become the checker, it is what confines it.
    const who = reason.includes('not installed') ? command : program;
    return { ended: 'otherwise', reason: `${who}: ${reason}`, output: output.text() };
  }
}

/** null: it was its own. */
function reasonOfEnd(program: string, exitCode: number): string | null {
  if (notStarted.includes(exitCode)) return `${program} could not be started`;
  // bwrap gives a signal's number as a shell does.
  const [name] = Object.entries(ofProcesses.signals).find(([, number]) => exitCode === 128 + number) ?? [];
  return name === undefined ? null : `${program}: it was ended by ${name}`;
}

/** Each of them but the box becomes the next, so that what is ended is the checker itself; or the box, and all in it. */
function confinement({ fileBytes, sandbox, user }: CheckerOptions): [string, ...string[]] {
  const limits = [
    ...[`--as=${memoryBytes}`, `--cpu=${timeLimitMs / 1000}`, '--core=0', '--nofile=64'],
    ...(fileBytes === null ? [] : [`--fsize=${fileBytes}`]),
  ];
  const identity = user === null ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
  const inSandbox = [...identity, '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs'];
  return [
    ...(sandbox.is === 'there'
      ? ([...sandbox.command, 'setpriv', ...inSandbox, '--'] as const)
      : (['setpriv', '--no-new-privs', '--pdeathsig', 'KILL', '--'] as const)),
    ...['ionice', '-t', '-c', '3', 'nice', '-n', '10'],
    ...['prlimit', ...limits, '--'],
  ];
}

async function findProgram(program: string): Promise<string | undefined> {
  for (const directory of searched) {
    const file = join(directory, program);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  return undefined;
}

/** The ends of an output that may have none, without what would act on a terminal. */
class KeptOutput {
  #first = '';
  #last = '';
  #isCut = false;

  readonly take = (line: string): void => {
    const kept = printable(line).trimEnd();
    if (kept === '') return;
    if (this.#last === '' && this.#first.length + kept.length < keptChars.first) {
      this.#first += `${kept}\n`;
      return;
    }
    const last = `${this.#last}${kept}\n`;
    this.#isCut ||= last.length > keptChars.last;
    this.#last = last.slice(-keptChars.last);
  };

  text(): string {
    return `${this.#first}${this.#isCut ? '…\n' : ''}${this.#last}`.trimEnd();
  }
}

/**
 * Whom checkers run as: nobody else where we are not root.
 * @throws ScratchUnusable when there is no such user
 */
export async function checkerUser(name: string): Promise<CheckerOptions['user']> {
  if (process.getuid?.() !== 0) return null;
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n');
  const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(':') ?? [];
  const user = { uid: Number(uid), gid: Number(gid) };
  if (uid && gid && user.uid > 0 && Number.isSafeInteger(user.uid) && Number.isSafeInteger(user.gid))
    return user;
  const problem = uid === '0' ? `${name} is root` : `there is no user ${name} in /etc/passwd`;
  throw new UmlsnapError('ScratchUnusable', { path: '/etc/passwd', problem });
}
