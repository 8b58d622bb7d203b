import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { pidOf } from './pid-of.js';
import { waitFor } from './wait-for.js';

/** The built command line. */
export const cliScript = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

export interface CliOptions {
  env?: Record<string, string>;
  /** Text for its standard input, which is closed otherwise. */
  input?: string;
  cwd?: string;
  /** Ends it by SIGKILL, and fails. */
  timeoutMs?: number;
  /** Made the leader of a session of its own, so that a signal to the terminal's group does not reach it. */
  detached?: boolean;
  /** A program with its arguments that becomes the command line, after it has changed what that finds. */
  through?: string[];
}

export interface CliResult {
  /** Null when a signal ended it. */
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** The objects of stdout's lines, those that are JSON. */
  json: Record<string, unknown>[];
}

export interface RunningCli {
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** Waits for something in what it has printed so far, on either stream. */
  waitForOutput(pattern: RegExp, limitMs?: number): Promise<string>;
  readonly exited: Promise<CliResult>;
}

/** Runs the built command line to its end. Its exit code is a result, never an exception. */
export function runCli(args: string[], options: CliOptions = {}): Promise<CliResult> {
  return startCli(args, options).exited;
}

/** Starts the built command line, for a test that sends it signals or looks at it while it runs. */
export function startCli(args: string[], options: CliOptions = {}): RunningCli {
  const [program = '', ...given] = [...(options.through ?? []), process.execPath, cliScript, ...args];
  const child = spawn(program, given, {
    env: { ...process.env, ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.detached !== undefined && { detached: options.detached }),
  });
  child.stdin?.on('error', () => undefined).end(options.input);
  const printed = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    printed.stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    printed.stderr += text;
  });
  const exited = toItsEnd(child, printed, args, options.timeoutMs ?? 240_000);
  return {
    pid: pidOf(child),
    stdout: () => printed.stdout,
    stderr: () => printed.stderr,
    kill: (signal) => void child.kill(signal),
    waitForOutput: (pattern, limitMs = 60_000) =>
      waitFor(
        `${pattern} in the output of umlsnap ${args.join(' ')}`,
        () => pattern.exec(printed.stdout)?.[0] ?? pattern.exec(printed.stderr)?.[0],
        { limitMs, found: () => JSON.stringify(printed) },
      ),
    exited,
  };
}

interface Printed {
  stdout: string;
  stderr: string;
}

function toItsEnd(
  child: ChildProcess,
  printed: Printed,
  args: string[],
  timeoutMs: number,
): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`umlsnap ${args.join(' ')} ran over ${timeoutMs} ms: ${JSON.stringify(printed)}`));
    }, timeoutMs);
    child.once('error', reject);
    child.once('close', (exitCode, signal) => {
      clearTimeout(timer);
      resolve({ exitCode, signal, ...printed, json: jsonLines(printed.stdout) });
    });
  });
}

/** The objects of those lines that are JSON. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
