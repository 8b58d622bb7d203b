import { spawn } from 'node:child_process';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { heard } from './heard.js';
import { pidOf } from './pid-of.js';
import { waitFor } from './wait-for.js';

export type ScriptChild = ReturnType<typeof startScript>;

const tests = resolve(import.meta.dirname, '..');

/** Where a script of the tests (`*-child.ts`, `*-process.ts`) lies since `build.ts` built it. */
export function builtScript(script: URL): string {
  const path = relative(tests, fileURLToPath(script));
  return join(tests, '../dist/test', path.replace(/\.ts$/, '.js'));
}

interface Exit {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

/**
 * A real process that runs one of our scripts, to be killed, traced or raced against; the caller ends it.
 * @param script a URL relative to the caller's `import.meta.url`
 * @param through a program, and its arguments, that becomes it
 */
export function startScript(
  script: URL,
  args: string[],
  env: Record<string, string> = {},
  through: string[] = [],
) {
  const [program = '', ...rest] = [...through, process.execPath, builtScript(script), ...args];
  const child = spawn(program, rest, { env: { ...process.env, ...env } });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  const stderr = heard(child.stderr);
  // A child that was killed reads no more.
  child.stdin.on('error', () => undefined);
  let ended = false;
  const exited = new Promise<Exit>((resolve) => {
    child.on('close', (exitCode, signal) => {
      ended = true;
      resolve({ exitCode, signal, stderr: stderr() });
    });
  });
  return {
    pid: pidOf(child),
    /** What it has printed so far. */
    lines,
    exited,
    /** Lets it go on where it waits for a line. */
    go: () => void child.stdin.write('\n'),
    kill: (signal: NodeJS.Signals) => void child.kill(signal),
    waitForLine: async (line: string) => {
      const found = () => `${lines.slice(-5).join(' ')} ${stderr()}`;
      await waitFor(`${line} of ${script.pathname}`, () => lines.includes(line) || ended, { found });
      if (!lines.includes(line)) throw new Error(`${script.pathname} ended without ${line}: ${stderr()}`);
    },
  };
}
