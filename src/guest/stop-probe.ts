import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type ProcessIdentity, readProcessStat } from '../process-identity.js';
import { KeptFile } from './kept-file.js';

export type StopSign = 'stopped' | 'running' | 'unknown';

/** Whether a guest stands still, as the host sees it. */
export interface StopView {
  stopSign(): StopSign;
  /** Whether the host says of any of the guest's I/O helpers where it sleeps. */
  tellsSleepers(): boolean;
}

/**
 * Looks from the host whether a guest is stopped by its mconsole: its main process then sleeps in the receive of the
 * mconsole socket (uml-facts, fact 13); `version` and `proc` answer either way and prove nothing.
 * @returns `unknown` where the host does not tell (no rights, no kallsyms, no such process, or it is on a CPU)
 */
export function probeStopped(main: ProcessIdentity): StopSign {
  const file = new KeptFile(`/proc/${main.pid}/wchan`);
  const found = file.read();
  file.close();
  return stopSignOf(found);
}

/** The same, from what `wchan` of the main process says: the kernel function that it sleeps in. */
export function stopSignOf(wchan: ReturnType<KeptFile['read']>): StopSign {
  if (typeof wchan === 'string') return 'unknown';
  const waitsIn = wchan.text.trim();
  if (waitsIn === '' || waitsIn === '0') return 'unknown';
  return waitsIn.includes('wait_for_more_packets') ? 'stopped' : 'running';
}

/** A process that waits for a CPU of a busy host is waited for about so long, in milliseconds. */
const looksAtWaiting = 500;

/**
 * Proof from the host that this very guest stands still, whatever the console said that was asked to stop it: a config, or
 * a umid in use twice, may pair one guest's console with another's disks. A main process that has just answered us is on a
 * CPU for a moment, or waits for one, so it is looked at more than once. Blocking: a part of the pause.
 * @returns true also where the host does not tell
 */
export function isConfirmedStopped(view: StopView): boolean {
  let sign = view.stopSign();
  const mayWaitForCpu = () => sign === 'unknown' && view.tellsSleepers();
  for (let looks = 0; looks < 30 || (looks < looksAtWaiting && mayWaitForCpu()); looks++) {
    if (sign === 'stopped') return true;
    Atomics.wait(nobodysBell, 0, 0, looks < 10 ? 0.02 : 1);
    sign = view.stopSign();
  }
  // An I/O helper nearly always sleeps: a host that won't say where tells nothing of the main process either.
  return sign === 'stopped' || !view.tellsSleepers();
}

const nobodysBell = new Int32Array(new SharedArrayBuffer(4));

/**
 * The same for a guest that has just answered us, and so may be on a CPU at the first look, or wait for one: one that goes on
 * using it runs, for a stopped one sleeps.
 */
export async function lookWhetherStopped(main: ProcessIdentity): Promise<StopSign> {
  const before = readProcessStat(main.pid);
  let wasOnCpu = true;
  for (let looks = 0; looks < 30 || (looks < looksAtWaiting && wasOnCpu); looks++) {
    const found = probeStopped(main);
    if (found !== 'unknown') return found;
    const now = readProcessStat(main.pid);
    wasOnCpu &&= now?.state === 'R';
    if (wasOnCpu && before && now && now.cpuTicks > before.cpuTicks + 1) return 'running';
    await (looks < 10 ? nextTurn() : sleep(1));
  }
  return wasOnCpu ? 'running' : 'unknown';
}
