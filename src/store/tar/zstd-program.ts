import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { childEnvironment } from '../../child-environment.js';
import { UmlsnapError } from '../../errors.js';

/** The `zstd` program. Standard input or output that is a number is a descriptor that it reads or writes by itself. */
export interface ZstdPipes {
  stdin: number | 'pipe';
  stdout: number | 'pipe';
  signal: AbortSignal | undefined;
}

export interface RunningZstd {
  /** Takes all of it before it returns. */
  write(bytes: Buffer): Promise<void>;
  readonly output: AsyncIterable<Buffer>;
  endInput(): void;
  /** Ends its input, and waits until it has ended well. @throws what `failure` says */
  finish(): Promise<void>;
  /** What it ended with if it failed by itself; undefined when it did not fail, or still runs half a minute later. */
  failure(): Promise<unknown>;
  /** Ends it by force, if it still runs, and waits for that. */
  kill(): Promise<void>;
}

const stderrMaxBytes = 4096;

/** What the kernel told zstd, in the C library's words, to the errno that it was. */
const errnoByText: [string, string][] = [
  ['No space left on device', 'ENOSPC'],
  ['Disk quota exceeded', 'EDQUOT'],
  ['Input/output error', 'EIO'],
  ['Read-only file system', 'EROFS'],
  ['File too large', 'EFBIG'],
];

/** Its words are read. */
const environment = () => ({ env: childEnvironment({ LC_ALL: 'C' }), extendEnv: false });

/** Whether the program can be run here. */
export async function isZstdThere(): Promise<boolean> {
  const { execa } = await import('execa');
  const { failed } = await execa('zstd', ['--version'], {
    ...environment(),
    stdin: 'ignore',
    reject: false,
    timeout: 10_000,
  });
  return !failed;
}

export async function startZstd(args: string[], { stdin, stdout, signal }: ZstdPipes): Promise<RunningZstd> {
  signal?.throwIfAborted();
  // Here and not at the top: it takes a while to load, and most commands need none of it.
  const { execa } = await import('execa');
  const child = execa('zstd', [...args, '-q', '-c'], {
    stdin: anyNumber(stdin),
    stdout: anyNumber(stdout),
    stderr: 'pipe',
    buffer: { stdout: false, stderr: true },
    maxBuffer: { stderr: stderrMaxBytes },
    ...environment(),
    reject: false,
    forceKillAfterDelay: false,
    killSignal: 'SIGKILL',
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  });
  const ended = child.then((result) => {
    if (signal?.aborted) return signal.reason;
    return result.failed ? failureOf(result) : undefined;
  });
  const input = child.stdin;
  // Whoever writes is told by its callback.
  input?.on('error', () => undefined);
  return {
    write: (bytes) => writeTo(input, bytes),
    output: outputOf(child.stdout),
    endInput: () => void input?.end(),
    async finish() {
      input?.end();
      const failure = await ended;
      if (failure !== undefined) throw failure;
    },
    failure: () => Promise.race([ended, once(AbortSignal.timeout(30_000), 'abort').then(() => undefined)]),
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** execa takes any descriptor; its types know those up to 9. */
function anyNumber(stdio: number | 'pipe'): 3 | 'pipe' {
  return stdio as 3 | 'pipe';
}

function writeTo(input: Writable | null, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    input?.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

async function* outputOf(output: Readable | null): AsyncGenerator<Buffer> {
  if (output !== null) yield* output as AsyncIterable<Buffer>;
}

interface Ended {
  exitCode?: number | undefined;
  code?: string | undefined;
  stderr?: unknown;
  shortMessage?: string | undefined;
}

function failureOf(result: Ended): Error {
  const { exitCode = null, code } = result;
  const words = typeof result.stderr === 'string' ? result.stderr.trim() : '';
  const errno = errnoByText.find(([text]) => words.includes(text))?.[1];
  if (errno !== undefined) {
    return Object.assign(new Error(`${errno}: zstd: ${words}`), { code: errno, syscall: 'write' });
  }
  const problem = code === 'ENOENT' ? 'the program is not installed' : words || (result.shortMessage ?? '');
  return new UmlsnapError('CommandFailed', { command: 'zstd', exitCode, problem });
}
