import { readFileSync } from 'node:fs';
import type { ProcessIdentity } from '../process-identity.js';

/**
 * Looks from the host whether a guest is stopped by its mconsole: its main process then sleeps in the receive of the
 * mconsole socket (uml-facts, fact 13); `version` and `proc` answer either way and prove nothing.
 * @returns `unknown` where the host does not tell (no rights, no kallsyms, no such process)
 */
export function probeStopped(main: ProcessIdentity): 'stopped' | 'running' | 'unknown' {
  let waitsIn: string;
  try {
    waitsIn = readFileSync(`/proc/${main.pid}/wchan`, 'utf8').trim();
  } catch {
    // No process or no permission: either way the host does not tell.
    return 'unknown';
  }
  if (waitsIn.includes('wait_for_more_packets')) return 'stopped';
  // `0`: on a CPU at this moment, or none of our business.
  return waitsIn === '' || waitsIn === '0' ? 'unknown' : 'running';
}
