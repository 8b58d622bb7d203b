import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { pidOf } from './pid-of.js';
import { heard } from './heard.js';
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

export type RunningCli = ReturnType<typeof startCli>;

/** Runs the built command line to its end. Its exit code is a result, never an exception. */
export function runCli(args: string[], options: CliOptions = {}): Promise<CliResult> {
  return startCli(args, options).exited;
}

/** Starts the built command line, for a test that sends it signals or looks at it while it runs. */
export function startCli(args: string[], options: CliOptions = {}) {
  const { through = [], env, input, timeoutMs = 240_000, ...given } = options;
  const [program = '', ...words] = [...through, process.execPath, cliScript, ...args];
  const child = spawn(program, words, {
    env: { ...process.env, ...env },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    ...given,
  });
  child.stdin?.on('error', () => undefined).end(input);
  const [stdout, stderr] = [heard(child.stdout), heard(child.stderr)];
  const printed = () => ({ stdout: stdout(), stderr: stderr() });
  const exited = new Promise<CliResult>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      const found = JSON.stringify(printed());
      reject(new Error(`umlsnap ${args.join(' ')} ran over ${timeoutMs} ms: ${found}`));
    }, timeoutMs);
    child.once('error', reject);
    child.once('close', (exitCode, signal) => {
      clearTimeout(timer);
      resolve({ exitCode, signal, ...printed(), json: jsonLines(stdout()) });
    });
  });
  return {
    pid: pidOf(child),
    ...{ stdout, stderr, exited },
    kill: (signal: NodeJS.Signals) => void child.kill(signal),
    /** Waits for something in what it has printed so far, on either stream. */
    waitForOutput: (pattern: RegExp, limitMs = 60_000) => {
      const seen = () => pattern.exec(stdout())?.[0] ?? pattern.exec(stderr())?.[0];
      const found = () => JSON.stringify(printed());
      return waitFor(`${pattern} in the output of umlsnap ${args.join(' ')}`, seen, { limitMs, found });
    },
  };
}

/** The objects of those lines that are JSON. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
