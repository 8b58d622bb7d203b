import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { searchPath } from '../child-environment.js';
import { errnoOf, UmlsnapError } from '../errors.js';
import { filterDescriptor } from '../sandbox-args.js';
import { sandboxFilter } from '../sandbox-filter.js';
import type { ConsoleWatch } from './console-watch.js';
import {
  infoDescriptor,
  type SandboxOrder,
  sandboxCommand,
  sandboxHome,
  sandboxUmid,
} from './sandbox-command.js';

/** The guest of a drill, in its box. */
export interface SandboxedGuest {
  /** Once bwrap has made the box: the `/` of the guest's processes, for us. */
  root(): string | null;
  /** Where its management console is, for us. */
  consolePath(): string | null;
  /** In words; null while it runs. */
  end(): string | null;
}

const endLimitMs = 20_000;
const maxInfoChars = 4096;

/**
 * Boots a guest in a box for as long as `use` takes; whatever happens to us, nothing of the box outlives that: bwrap ends with
 * its parent, the first process of the box with bwrap, and all others with the first.
 * @throws DrillImpossible when there is no bwrap, or no box for this machine
 */
export async function withSandboxedGuest<T>(
  order: SandboxOrder,
  watch: ConsoleWatch,
  use: (guest: SandboxedGuest) => Promise<T>,
): Promise<T> {
  const filter = sandboxFilter('guest', process.arch);
  if (filter === null)
    throw new UmlsnapError('DrillImpossible', { problem: `there is no box for ${process.arch}` });
  const { command, args } = sandboxCommand(order);
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    cwd: '/',
    // Nothing of ours is the guest's business; bwrap itself is looked for on this path.
    env: { PATH: searchPath() },
  });
  const closed = new Promise<void>((resolve) => void child.once('close', () => resolve()));
  child.stdout?.on('data', (bytes: Buffer) => watch.takeConsole(bytes));
  const toRead = child.stdio[filterDescriptor] as Writable | undefined;
  // A bwrap that ends without reading it says by itself what is wrong.
  toRead?.on('error', () => {}).end(filter);
  // Its kernel's early words come this way, and those of whatever kept the box from being made.
  child.stderr?.on('data', (bytes: Buffer) => watch.takeConsole(bytes));
  try {
    await started(child);
    return await use(describe(child));
  } finally {
    await endSandbox(child, closed);
  }
}

async function started(child: ChildProcess): Promise<void> {
  try {
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  } catch (error) {
    const missing = errnoOf(error) === 'ENOENT';
    const problem = missing
      ? 'bwrap is not installed (bubblewrap)'
      : `bwrap can't be started: ${String(error)}`;
    throw new UmlsnapError('DrillImpossible', { problem }, error);
  }
}

function describe(child: ChildProcess): SandboxedGuest {
  let info = '';
  const pipe = child.stdio[infoDescriptor] as Readable;
  pipe.on('data', (bytes: Buffer) => {
    info = (info + bytes.toString()).slice(0, maxInfoChars);
  });
  pipe.on('error', () => pipe.destroy());
  const root = () => {
    const pid = /"child-pid": (\d+)/.exec(info)?.[1];
    return pid === undefined ? null : `/proc/${pid}/root`;
  };
  return {
    root,
    consolePath: () => (root() === null ? null : `${root()}${sandboxHome}/.uml/${sandboxUmid}/mconsole`),
    end: () => describeEnd(child),
  };
}

const endedBySignal = (number: number) => `its kernel was ended by signal ${number}`;
/** A kernel for another architecture, such as a 32-bit one: the box's filter knows its calls not. */
export const endOfForeignKernel = endedBySignal(constants.signals.SIGSYS);

function describeEnd({ exitCode, signalCode }: ChildProcess): string | null {
  if (signalCode !== null) return `its kernel was ended by ${signalCode}`;
  if (exitCode === null) return null;
  // bwrap gives a signal's number as a shell does.
  return exitCode > 128 ? endedBySignal(exitCode - 128) : `its kernel exited with ${exitCode}`;
}

/** `close` comes when the last process that could still write to the console is gone. */
async function endSandbox(child: ChildProcess, closed: Promise<void>): Promise<void> {
  if (child.pid === undefined) return;
  child.kill('SIGKILL');
  const waiting = new AbortController();
  const late = delay(endLimitMs, 'late' as const, { signal: waiting.signal }).catch(() => 'late' as const);
  const outcome = await Promise.race([closed, late]);
  waiting.abort();
  if (outcome === 'late') {
    throw new UmlsnapError('DrillImpossible', { problem: `the box of process ${child.pid} does not end` });
  }
}
