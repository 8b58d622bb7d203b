import { pids, readOrNothing } from '../support/guest-processes.js';

/** Seldom: it takes some milliseconds, which the pause would feel. The kernel itself keeps the peak of the command. */
const everyMs = 250;

/** The most that a command held in memory at once: by its own VmHWM, and the sum of its RSS and those of all that it has started. */
export type MemoryPeak = ReturnType<ReturnType<typeof watchMemory>>;

/** Watches what a process and all that it has started hold in memory, until the returned function is called for the peak. */
export function watchMemory(pid: number) {
  const peak = { ownBytes: 0, togetherBytes: 0 };
  const timer = setInterval(() => {
    const togetherBytes = familyOf(pid).reduce((sum, one) => sum + statusNumber(one, 'VmRSS'), 0) * 1024;
    peak.ownBytes = Math.max(peak.ownBytes, statusNumber(pid, 'VmHWM') * 1024);
    peak.togetherBytes = Math.max(peak.togetherBytes, togetherBytes);
  }, everyMs);
  return () => {
    clearInterval(timer);
    return peak;
  };
}

/** The process and its descendants, also those in sessions of their own. */
function familyOf(pid: number): number[] {
  const parents = pids().map((one) => ({ one, parent: statusNumber(one, 'PPid') }));
  const family = new Set([pid]);
  // A set is walked to its end, with what is added on the way.
  for (const member of family) {
    for (const { one, parent } of parents) if (parent === member) family.add(one);
  }
  return [...family];
}

function statusNumber(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(readOrNothing(`/proc/${pid}/status`))?.[1] ?? 0);
}
