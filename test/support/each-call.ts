import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { signalIfThere } from './guest-processes.js';
import { heard } from './heard.js';
import { roundsOr, tellCampaign } from './rounds.js';
import { waitFor } from './wait-for.js';

/** All by which our processes change what lies on a disk; not each kind of machine has each of them. */
const changing = `openat write pwrite64 ftruncate fallocate copy_file_range ioctl fsync fdatasync
  mkdir mkdirat link linkat symlinkat unlink unlinkat rmdir
  rename renameat renameat2 fchmod fchown utimensat`.split(/\s+/);

/** Reading opens, terminals, what is printed, and the word of one thread to another change nothing on a disk. */
const changesNothing =
  /^openat\((?!.*O_(CREAT|TRUNC|TMPFILE))|^ioctl\((?!.*FICLONE)|^write\([12], |^write\(\d+, "\\1(\\0){7}"/;

/**
 * Lets a process (of one thread in its pool) stand still right after each system call by which it changes something, and `look`: what
 * lies there then is what a SIGKILL at this place leaves, since that takes nothing back, and what was locked is told by no file.
 * One process shows every place; to be killed at each of them, as many would have to be started. `look` may kill it in earnest.
 * @returns how often it stood still
 */
export async function lookAfterEachCall(
  pid: number,
  start: () => unknown,
  look: (nth: number, call: string) => Promise<unknown>,
): Promise<number> {
  const calls = changing.map((call) => `?${call}`).join(',');
  const faults = ['-e', `trace=${calls}`, '-e', `inject=${calls}:signal=STOP`];
  const strace = straceOf(pid, ['-s', '8', ...faults]);
  const stopped = new Set<number>();
  const said = { first: '', call: '', ended: false };
  createInterface({ input: strace.stderr }).on('line', (line) => {
    said.first ||= line;
    const [, thread = String(pid), what = ''] = /^(?:\[pid +(\d+)\] )?(.*)/.exec(line) ?? [];
    if (what.startsWith('--- stopped by SIGSTOP')) stopped.add(Number(thread));
    else if (/^\w+\(/.test(what) && !changesNothing.test(what)) said.call = what;
  });
  strace.on('close', () => {
    said.ended = true;
  });
  const standsStill = () => {
    const threads = threadsOf(pid);
    return threads.length > 0 && threads.every((thread) => stopped.has(thread));
  };
  const found = () => `${said.first} … ${said.call}`;
  await waitFor('strace to attach', () => said.ended || said.first.includes('attached'), { found });
  start();
  for (let nth = 0; ; ) {
    await waitFor('the next stop', () => said.ended || standsStill(), { everyMs: 1, found });
    if (said.ended) return nth;
    if (said.call !== '') await look(nth++, said.call);
    said.call = '';
    stopped.clear();
    signalIfThere(pid, 'SIGCONT');
  }
}

const straceOf = (pid: number, args: string[]) =>
  spawn('strace', ['-f', '-p', String(pid), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });

/** Runs `use` while strace, with these arguments, traces a process and all of its threads. */
export async function withStrace<T>(
  pid: number,
  args: string[],
  use: () => Promise<T>,
): Promise<{ result: T; said: string }> {
  const strace = straceOf(pid, args);
  const gone = once(strace, 'close');
  const said = heard(strace.stderr);
  let result: T;
  try {
    await waitFor('strace to attach', () => said().includes('attached'), { found: said });
    result = await use();
  } finally {
    strace.kill('SIGINT');
    // It hears nothing else where it delays a call of a process that was killed, or lets go of one that dies at that moment.
    const deaf = setTimeout(() => strace.kill('SIGKILL'), 5000);
    await gone;
    clearTimeout(deaf);
  }
  return { result, said: said() };
}

/** Runs `use` while a process meets a fault of strace's, or none where only calls are named, and counts its calls of that kind. */
export async function callsUnderFault<T>(pid: number, fault: string, use: () => Promise<T>) {
  const [calls = '', ...faults] = fault.split(':');
  const inject = faults.length > 0 ? ['-e', `inject=${fault}`] : [];
  const { result, said } = await withStrace(pid, ['-e', `trace=${calls}`, ...inject], use);
  const count = said.match(new RegExp(`\\b(?:${calls.replaceAll(',', '|')})\\(\\d`, 'g'))?.length ?? 0;
  return { result, count };
}

/** Places to be killed at in earnest, of so many: some, or as many as `UMLSNAP_ROUNDS` says. */
export function someOf(count: number): number[] {
  const places = Array.from({ length: count }, (_, place) => ({ place, order: Math.random() }));
  const chosen = places.sort((a, b) => a.order - b.order).slice(0, roundsOr(2));
  console.log(`killed at ${chosen.map(({ place }) => place).join(', ')} of ${count} places`);
  tellCampaign({ places: count, kills: chosen.length });
  return chosen.map(({ place }) => place);
}

function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return []; // it has ended
  }
}
