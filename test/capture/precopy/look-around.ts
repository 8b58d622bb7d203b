import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { ownIdentity } from '../../../src/process-identity.js';
import { captureChild } from '../traced.js';

/** The trace instances of this very process. */
export function instancesOfOurs(): string[] {
  const instances = '/sys/kernel/tracing/instances';
  if (!existsSync(instances)) return [];
  const { pid, startTicks } = ownIdentity();
  return readdirSync(instances).filter((name) => name.startsWith(`umlsnap-${pid}-${startTicks}-`));
}

/** `R`, `S`, `T` … of proc(5), also of a thread. */
export function stateOf(tid: number): string {
  const text = readFileSync(`/proc/${tid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3);
}

/** The most that the one capture process of ours ever held in memory. */
export function childMemoryBytes(): number {
  const status = readFileSync(`/proc/${captureChild()}/status`, 'latin1');
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** The threads of that process. */
export function childThreads(): { tid: number; nice: number }[] {
  const tasks = `/proc/${captureChild()}/task`;
  return readdirSync(tasks).map((tid) => {
    const text = readFileSync(`${tasks}/${tid}/stat`, 'latin1');
    // Field 19 of proc(5); the third comes right after the command's name.
    return { tid: Number(tid), nice: Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16]) };
  });
}
