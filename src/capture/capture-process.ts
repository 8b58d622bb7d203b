import { type ChildProcess, fork } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { processEntry } from '../process-entry.js';
import type { CaptureDisk, CaptureMethod } from './capture.js';
import type { ArmWord, ChildWord, GoWord } from './child-words.js';

/**
 * Starting takes some 60 ms, and the rehearsal of a reflink as long as the disk's dirty pages take to be written. A machine on
 * which all that takes so long is in no state to pause a guest.
 */
const startLimitMs = 60_000;
/** A killed process that still does not end sits in a system call of a dead disk. Nothing of ours depends on it. */
const endLimitMs = 2_000;
const stderrLimitChars = 2_000;

export interface CaptureChild {
  /** Says go. Resolves with what became of it; a child that ends without a word has failed. */
  capture(): Promise<ChildWord>;
  /** SIGKILL, at once. */
  kill(): void;
  /** Kills it and waits until it is gone, within reason. */
  end(): Promise<void>;
}

/**
 * Starts the capture child and hands it the descriptors, not the names: what was checked is what is captured.
 * @returns once it says that it is ready; its word, and nothing else left of it, when it says anything else
 */
export async function startCaptureChild(
  method: CaptureMethod,
  disks: CaptureDisk[],
  targets: FileHandle[],
): Promise<CaptureChild | ChildWord> {
  const child = forkChild(disks.flatMap((disk, index) => [disk.sourceFd, targets[index]?.fd ?? -1]));
  const words = listen(child, disks.map(({ device }) => device).join(', '));
  const startLimit = setTimeout(() => child.kill('SIGKILL'), startLimitMs);
  const arm: ArmWord = {
    is: 'arm',
    method,
    parentPid: process.pid,
    disks: disks.map(({ device, sizeBytes }) => ({ device, sizeBytes })),
  };
  child.send(arm);
  const first = await words.next();
  clearTimeout(startLimit);
  if (first.is !== 'ready') {
    await end(child);
    return first;
  }
  return {
    capture: () => {
      const go: GoWord = { is: 'go' };
      // A channel that broke comes with the child's end, and that is what is reported.
      child.send(go, () => {});
      return words.next();
    },
    kill: () => void child.kill('SIGKILL'),
    end: () => end(child),
  };
}

function forkChild(fds: number[]): ChildProcess {
  // No NODE_OPTIONS of ours: what they load may take long, and a debugger would hold the child.
  const { NODE_OPTIONS: _, ...env } = process.env;
  return fork(processEntry('capture-child', import.meta.url), [], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc', ...fds],
    // Carries bigints and maps.
    serialization: 'advanced',
    // Functions are compiled when they are loaded, not when the guest stands still.
    execArgv: ['--no-lazy'],
    env,
  });
}

/** The child's words one by one; after its end, its end is the next word for ever. */
function listen(child: ChildProcess, devices: string): { next(): Promise<ChildWord> } {
  let stderr = '';
  child.stderr?.on('data', (text: Buffer) => {
    stderr = (stderr + text.toString()).slice(-stderrLimitChars);
  });
  const failed = (message: string): ChildWord => ({
    is: 'failed',
    device: devices,
    message,
    code: undefined,
    syscall: undefined,
  });
  const ended = new Promise<ChildWord>((resolve) => {
    child.on('error', (error) => resolve(failed(`the capture process can't be started: ${error.message}`)));
    child.once('exit', (code, signal) => {
      const how = `the capture process ended unexpectedly (${signal ?? `exit code ${code}`})`;
      resolve(failed(stderr === '' ? how : `${how}: ${stderr.trim()}`));
    });
  });
  return {
    next: () =>
      Promise.race([new Promise<ChildWord>((resolve) => void child.once('message', resolve)), ended]),
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
