import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type ProcessIdentity, readProcessStat } from '../process-identity.js';
import type { GuestProcesses } from './guest-processes.js';

/**
 * Looks from the host whether a guest is stopped by its mconsole: its main process then sleeps in the receive of the
 * mconsole socket (uml-facts, fact 13); `version` and `proc` answer either way and prove nothing.
 * @returns `unknown` where the host does not tell (no rights, no kallsyms, no such process)
 */
export function probeStopped(main: ProcessIdentity): 'stopped' | 'running' | 'unknown' {
  const waitsIn = sleepPlaceOf(main.pid);
  if (waitsIn === undefined) return 'unknown';
  return waitsIn.includes('wait_for_more_packets') ? 'stopped' : 'running';
}

/**
 * Proof from the host that this very guest stands still, whatever the console said that was asked to stop it: a config, or
 * a umid in use twice, may pair one guest's console with another's disks. A main process that has just answered us is on a
 * CPU for a moment, so it is looked at more than once.
 * @returns true also where the host does not tell
 */
export async function confirmStopped({ main, ioTasks }: GuestProcesses): Promise<boolean> {
  for (let looks = 0; looks < 30; looks++) {
    if (probeStopped(main) === 'stopped') return true;
    await (looks < 10 ? nextTurn() : sleep(1));
  }
  // An I/O helper nearly always sleeps: a host that won't say where tells nothing of the main process either.
  return !ioTasks.some((task) => sleepPlaceOf(task) !== undefined);
}

/**
 * The same for a guest that has just answered us, and so may be on a CPU at the first look: one that is there at every look
 * runs, for a stopped one sleeps.
 */
export async function lookWhetherStopped(main: ProcessIdentity): Promise<'stopped' | 'running' | 'unknown'> {
  let wasOnCpu = true;
  for (let looks = 0; looks < 30; looks++) {
    const found = probeStopped(main);
    if (found !== 'unknown') return found;
    wasOnCpu &&= readProcessStat(main.pid)?.state === 'R';
    await (looks < 10 ? nextTurn() : sleep(1));
  }
  return wasOnCpu ? 'running' : 'unknown';
}

/** The kernel function that a task sleeps in; undefined when it is on a CPU, or the host does not tell. */
function sleepPlaceOf(task: string | number): string | undefined {
  try {
    const waitsIn = readFileSync(`/proc/${task}/wchan`, 'utf8').trim();
    return waitsIn === '' || waitsIn === '0' ? undefined : waitsIn;
  } catch {
    // No process or no permission: either way the host does not tell.
    return undefined;
  }
}
