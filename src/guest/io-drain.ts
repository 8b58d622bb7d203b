import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../errors.js';

/**
 * Waits until the guest's I/O helper has written all that the guest had queued before it was stopped. `stopped` does
 * not mean quiet: late writes came up to 132 ms after it (uml-facts, fact 2). Drained means that the helper sleeps in
 * something that is no write to a file, and that its counters stand still between two looks: a counter alone grows
 * only when a write has completed, so it can't tell of one in flight.
 * @param deadlineMs on the monotonic clock (`performance.now()`)
 * @returns false when it was not drained by then
 */
export async function waitUntilDrained(
  ioTasks: string[],
  deadlineMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const startedMs = performance.now();
  let before = look(ioTasks);
  for (;;) {
    await (performance.now() - startedMs < 2 ? nextTurn() : sleep(1));
    signal?.throwIfAborted();
    const now = look(ioTasks);
    if (before.blocked && now.blocked && before.written === now.written) return true;
    if (performance.now() >= deadlineMs) return false;
    before = now;
  }
}

/**
 * Waits for a moment in which the I/O helper of a guest that runs has nothing to do. Stopped in such a moment, it has next to
 * nothing queued: `waitUntilDrained` is then short also for a guest that writes at full speed.
 * @param deadlineMs on the monotonic clock
 * @returns false when there was no such moment by then
 */
export async function waitUntilIdle(
  ioTasks: string[],
  deadlineMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  for (;;) {
    // Two looks right after each other: between two requests of many it sleeps for a moment as well.
    const before = look(ioTasks);
    await nextTurn();
    const now = look(ioTasks);
    signal.throwIfAborted();
    if (before.blocked && now.blocked && before.written === now.written) return true;
    if (performance.now() >= deadlineMs) return false;
    await sleep(1);
  }
}

/**
 * What the helpers have written so far, undefined while one of them writes: equal before and after a capture, or something
 * wrote during it.
 */
export function writtenBy(ioTasks: string[]): string | undefined {
  const { blocked, written } = look(ioTasks);
  return blocked ? written : undefined;
}

interface Look {
  blocked: boolean;
  written: string;
}

function look(ioTasks: string[]): Look {
  const looks = ioTasks.map(lookAt);
  return { blocked: looks.every((one) => one.blocked), written: looks.map((one) => one.written).join(';') };
}

function lookAt(task: string): Look {
  const io = read(`/proc/${task}/io`);
  // A task that ended writes nothing any more.
  if (io === 'gone') return { blocked: true, written: `${task} gone` };
  const stat = read(`/proc/${task}/stat`);
  const state = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
  const counters = /wchar: (\d+)[\s\S]*syscw: (\d+)/.exec(io);
  return {
    // Counters that we may not see prove nothing: such a helper never counts as drained.
    blocked: counters !== null && state === 'S' && !writesToFile(read(`/proc/${task}/syscall`)),
    written: `${task} ${counters?.[1]} ${counters?.[2]}`,
  };
}

/** On FUSE a write sleeps as a read does, so the system call's number is looked at too, where we may see it. */
function writesToFile(syscall: string): boolean {
  const fileWritesOnX64 = ['18', '20', '74', '75', '285', '296', '328', 'running'];
  return fileWritesOnX64.includes(syscall.split(' ')[0]?.trim() ?? '');
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    return ['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '') ? 'gone' : 'forbidden';
  }
}
