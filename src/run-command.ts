import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { childEnvironment } from './child-environment.js';
import { UmlsnapError } from './errors.js';
import { LineSplitter } from './line-splitter.js';

/**
 * The one way to run a program that is not ours: by its arguments, never through a shell, within a time and an amount of output,
 * and so that an end of ours ends it. What it says of a failure goes into the error; what it was given never does.
 */

export interface CommandOptions {
  /** Ends the program: SIGTERM, and SIGKILL when it is still there 5 s later. Only the program itself, not what it has started. */
  signal?: AbortSignal | undefined;
  /** From its start to the end of its output; null: no limit, for whoever has another way to notice that it hangs. */
  timeoutMs: number | null;
  /** Its standard input; nothing when absent. */
  input?: string | Uint8Array | undefined;
  /** What it finds to read at its descriptor 3, which it does not have when absent. */
  atDescriptor3?: Uint8Array | undefined;
  /** Its whole environment; what every child gets when absent. */
  env?: NodeJS.ProcessEnv | undefined;
  cwd?: string | undefined;
  /** Run as this user and group, without any further group: both or none of them. */
  uid?: number | undefined;
  gid?: number | undefined;
  /** Told each line of its standard error as it comes. */
  onErrorLine?: ((line: string) => void) | undefined;
  /** Never to be seen in an error, wherever the program has it from. */
  secrets?: readonly string[] | undefined;
  /** The exit codes that are no failure; 0 when absent. */
  okExitCodes?: readonly number[] | undefined;
}

export interface RunOptions extends CommandOptions {
  /** Told each line of its standard output as it comes: the output is then not kept. */
  onLine?: ((line: string) => void) | undefined;
  /** More output, or with `onLine` a longer line, is a failure; 1 MiB when absent. */
  maxOutputBytes?: number | undefined;
}

export interface CommandEnd {
  exitCode: number;
  /** The last 4 KiB of its standard error, without the secrets. */
  stderr: string;
}

const killAfterMs = 5000;
const stderrKeptChars = 4096;
const defaultMaxOutputBytes = 1024 * 1024;

/**
 * Runs a program to its end and gives its output as text.
 * @param argv the program and its arguments: everybody on this host can read them
 * @throws CommandFailed for any exit code but those that are no failure; the signal's reason
 */
export async function runCommand(
  argv: readonly [string, ...string[]],
  options: RunOptions,
): Promise<CommandEnd & { stdout: string }> {
  const maxBytes = options.maxOutputBytes ?? defaultMaxOutputBytes;
  const tooMuch = () => failed(argv, null, `it wrote more than ${maxBytes} bytes`);
  const lines = options.onLine && new LineSplitter(options.onLine);
  const kept: Buffer[] = [];
  let keptBytes = 0;
  const output = streamCommand(argv, options);
  for (;;) {
    // Not `for await`: it would drop what the program's end has to say.
    const { value, done } = await output.next();
    if (done) {
      lines?.end();
      return { ...value, stdout: Buffer.concat(kept).toString('utf8') };
    }
    lines?.take(value);
    if (!lines) kept.push(value);
    keptBytes += value.length;
    if ((lines?.pendingChars ?? keptBytes) <= maxBytes) continue;
    await output.return({ exitCode: 0, stderr: '' });
    throw tooMuch();
  }
}

/**
 * Runs a program and gives its output as it comes, bytes as they are. It is started with the first piece that is asked for, and has
 * ended when this has: at its own end, or because nobody wants any more of it. Output that was cut short is a failure at its end.
 * @throws as `runCommand`
 */
export async function* streamCommand(
  argv: readonly [string, ...string[]],
  options: CommandOptions,
): AsyncGenerator<Buffer, CommandEnd, undefined> {
  options.signal?.throwIfAborted();
  const running = await start(argv, options);
  try {
    yield* running.output();
    return await running.end();
  } finally {
    await running.stop();
  }
}

interface Running {
  output(): AsyncGenerator<Buffer, void, undefined>;
  end(): Promise<CommandEnd>;
  stop(): Promise<void>;
}

async function start(argv: readonly [string, ...string[]], options: CommandOptions): Promise<Running> {
  const cut = cutter(options);
  const { child } = await spawn(argv, options, cut.signal);
  const stderr = keepEnd(child.stderr, options.onErrorLine);
  // A program of the program's may hold the output open for as long as it likes.
  const letGo = () => void child.once('exit', () => destroyAll(child));
  cut.signal.addEventListener('abort', () => (hasEnded(child) ? destroyAll(child) : letGo()));
  const clean = (text: string) => withoutSecrets(text, options.secrets ?? []);
  const requireUncut = () => {
    options.signal?.throwIfAborted();
    if (!cut.timedOut()) return;
    throw failed(argv, null, `it did not end within ${options.timeoutMs} ms`, clean(stderr()));
  };
  return {
    async *output() {
      try {
        yield* child.stdout;
      } catch (error) {
        requireUncut();
        throw error;
      }
    },
    async end() {
      const result = await child;
      requireUncut();
      const said = clean(stderr());
      if (result.exitCode === undefined) throw failed(argv, null, wayOfDeath(result), said);
      if ((options.okExitCodes ?? [0]).includes(result.exitCode))
        return { exitCode: result.exitCode, stderr: said };
      throw failed(argv, result.exitCode, said === '' ? 'it did not say why' : said);
    },
    async stop() {
      cut.now();
      await child;
    },
  };
}

async function spawn(
  [file, ...args]: readonly [string, ...string[]],
  options: CommandOptions,
  cut: AbortSignal,
) {
  // Not at the start of every verb: loading it takes longer than most of them.
  const { execa } = await import('execa');
  const { input, atDescriptor3, env = childEnvironment(), cwd, uid, gid } = options;
  const child = execa(file, args, {
    stdio: [input === undefined ? 'ignore' : Buffer.from(input), 'pipe', 'pipe', atDescriptor3 ?? 'ignore'],
    ...{ env, extendEnv: false },
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    buffer: false,
    reject: false,
    encoding: 'buffer',
    cancelSignal: cut,
    forceKillAfterDelay: killAfterMs,
  });
  // In an object: to be waited for is what a child is by itself.
  return { child };
}

type Child = Awaited<ReturnType<typeof spawn>>['child'];

const hasEnded = (child: Child) => child.exitCode !== null || child.signalCode !== null;

function destroyAll(child: Child): void {
  child.stdout.destroy();
  child.stderr.destroy();
}

/** Why a program is ended before its time: it was asked for, its time is up, or nobody reads it any more. */
function cutter({ signal, timeoutMs }: CommandOptions) {
  const cut = new AbortController();
  let isTimeUp = false;
  const now = () => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', now);
    cut.abort();
  };
  const timeIsUp = () => {
    isTimeUp = true;
    now();
  };
  const timer = timeoutMs === null ? undefined : setTimeout(timeIsUp, timeoutMs);
  signal?.addEventListener('abort', now, { once: true });
  return { signal: cut.signal, now, timedOut: () => isTimeUp };
}

function keepEnd(stream: Readable, onLine: ((line: string) => void) | undefined): () => string {
  const lines = new LineSplitter(onLine ?? (() => {}));
  let kept = '';
  stream.on('data', (chunk: Buffer) => {
    kept = (kept + chunk.toString('utf8')).slice(-stderrKeptChars);
    lines.take(chunk);
  });
  stream.on('end', () => lines.end());
  // Destroyed, when somebody else holds it open.
  stream.on('error', () => {});
  return () => kept.trim();
}

/** Never the error that execa would throw: its text carries the arguments, and what the program has said. */
function failed(
  [file]: readonly [string, ...string[]],
  exitCode: number | null,
  what: string,
  said = '',
): UmlsnapError<'CommandFailed'> {
  const problem = said === '' ? what : `${what}; it said: ${said}`;
  return new UmlsnapError('CommandFailed', { command: basename(file), exitCode, problem });
}

function wayOfDeath(result: { signal?: string | undefined; code?: string | undefined }): string {
  if (result.signal !== undefined) return `it was ended by ${result.signal}`;
  if (result.code === 'ENOENT') return 'it is not installed, or not on the PATH';
  return `it can't be started (${result.code ?? 'for an unknown reason'})`;
}

/** Also what stands between `//` and `@` of any address. */
function withoutSecrets(text: string, secrets: readonly string[]): string {
  const cleaned = secrets
    .filter((secret) => secret !== '')
    .reduce((rest, secret) => rest.replaceAll(secret, '***'), text);
  return cleaned.replace(/:\/\/[^/@\s]+@/g, '://***@').replace(/[^\P{Cc}\n]/gu, ' ');
}
