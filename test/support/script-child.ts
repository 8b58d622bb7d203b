import { type ChildProcess, spawn } from 'node:child_process';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pidOf } from './pid-of.js';
import { waitFor } from './wait-for.js';

/** A real process that runs one of our scripts, to be killed, traced or raced against. */
export interface ScriptChild {
  readonly pid: number;
  /** What it has printed so far. */
  readonly lines: string[];
  /** Lets it go on where it waits for a line. */
  go(): void;
  kill(signal: NodeJS.Signals): void;
  waitForLine(line: string): Promise<void>;
  readonly exited: Promise<{ exitCode: number | null; signal: NodeJS.Signals | null; stderr: string }>;
}

const tests = resolve(import.meta.dirname, '..');

/** Where a script of the tests (`*-child.ts`, `*-process.ts`) lies since `build.ts` built it. */
export function builtScript(script: URL): string {
  const path = relative(tests, fileURLToPath(script));
  return join(tests, '../dist/test', path.replace(/\.ts$/, '.js'));
}

/** `script` is a URL relative to the caller's `import.meta.url`. The caller ends it. */
export function startScript(script: URL, args: string[], env: Record<string, string> = {}): ScriptChild {
  const child: ChildProcess = spawn(process.execPath, [builtScript(script), ...args], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  let stderr = '';
  if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // A child that was killed reads no more.
  child.stdin?.on('error', () => undefined);
  const exited = new Promise<Awaited<ScriptChild['exited']>>((resolve) => {
    child.on('close', (exitCode, signal) => resolve({ exitCode, signal, stderr }));
  });
  let ended = false;
  void exited.then(() => {
    ended = true;
  });
  return {
    pid: pidOf(child),
    lines,
    go: () => void child.stdin?.write('\n'),
    kill: (signal) => void child.kill(signal),
    waitForLine: async (line) => {
      await waitFor(`the line ${line} of ${script.pathname}`, () => lines.includes(line) || ended, {
        found: () => `${lines.slice(-5).join(' ')} ${stderr}`,
      });
      if (!lines.includes(line)) throw new Error(`${script.pathname} ended without ${line}: ${stderr}`);
    },
    exited,
  };
}
