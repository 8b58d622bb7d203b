import type { LockRequest } from '../exclusive-lock.js';

/** What a daemon holds while it runs: one for each state directory. */
export function daemonLock(state: string): LockRequest & { keys: [string] } {
  return {
    keys: [`daemon ${state}`],
    holder: `umlsnap daemon (pid ${process.pid})`,
    what: `The state directory ${state}`,
    wait: false,
  };
}
