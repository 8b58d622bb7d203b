import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { childEnvironment } from '../child-environment.js';

/** A killed process that still does not end sits in a system call of a dead disk. Nothing of ours depends on it. */
const endLimitMs = 2_000;
const stderrLimitChars = 2_000;

/** What a child says when it has ended, or could not be started: its end, in words. */
export interface EndWord {
  is: 'failed';
  device: string;
  message: string;
  code: string | undefined;
  syscall: string | undefined;
}

/** A process of ours that works on a guest's disks, and can be killed in the middle of a system call. */
export interface KillableChild<Order, Word> {
  readonly pid: number | undefined;
  /** A channel that broke comes with the child's end, and that is what is reported. */
  send(order: Order): void;
  /** The next word; after the child's end, its end is the next word for ever. */
  next(): Promise<Word | EndWord>;
  /** SIGKILL, at once. */
  kill(): void;
  /** Kills it and waits until it is gone, within reason. */
  end(): Promise<void>;
}

/**
 * Starts a child and hands it the descriptors, not the names: what was checked is what is captured. They are numbered from
 * `firstDiskFd` on.
 */
export function startKillableChild<Order extends object, Word extends object>(
  entry: string,
  fds: number[],
  devices: string,
): KillableChild<Order, Word> {
  const child = forkChild(entry, fds);
  const next = listen<Word>(child, devices);
  return {
    pid: child.pid,
    send: (order) => void child.send(order, () => {}),
    next,
    kill: () => void child.kill('SIGKILL'),
    end: () => end(child),
  };
}

function forkChild(entry: string, fds: number[]): ChildProcess {
  return fork(entry, [], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc', ...fds],
    // Carries bigints and maps.
    serialization: 'advanced',
    // Functions are compiled when they are loaded, not when the guest stands still.
    execArgv: ['--no-lazy'],
    // No NODE_OPTIONS of ours: what they load may take long, and a debugger would hold the child.
    env: childEnvironment(),
  });
}

/** Words that come before anybody asks for them are kept. */
function listen<Word>(child: ChildProcess, devices: string): () => Promise<Word | EndWord> {
  const words: Word[] = [];
  let last: EndWord | undefined;
  let wake = () => {};
  let stderr = '';
  child.stderr?.on('data', (text: Buffer) => {
    stderr = (stderr + text.toString()).slice(-stderrLimitChars);
  });
  const endWith = (message: string) => {
    last ??= { is: 'failed', device: devices, message, code: undefined, syscall: undefined };
    wake();
  };
  child.on('message', (word) => {
    words.push(word as Word);
    wake();
  });
  child.on('error', (error) => endWith(`the capture process can't be started: ${error.message}`));
  child.once('exit', (code, signal) => {
    const how = `the capture process ended unexpectedly (${signal ?? `exit code ${code}`})`;
    endWith(stderr === '' ? how : `${how}: ${stderr.trim()}`);
  });
  return async () => {
    for (;;) {
      const word = words.shift() ?? last;
      if (word !== undefined) return word;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((resolve) => void child.once('exit', resolve));
  child.kill('SIGKILL');
  const waiting = new AbortController();
  await Promise.race([gone, delay(endLimitMs, undefined, { signal: waiting.signal })]).finally(() =>
    waiting.abort(),
  );
}
