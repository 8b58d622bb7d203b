import type { LockRequest } from '../locks/exclusive-lock.js';
import type { Lock } from '../locks/lock.js';

/** What a daemon holds while it runs: one for each state directory. */
export function daemonLock(state: string) {
  return { on: 'state', state, key: 'daemon' } as const satisfies Lock;
}

/** Of what `holderOf` says of the lock. */
export function pidOfDaemon(holder: string | undefined): number | null {
  const pid = /\(pid (\d+)\)/.exec(holder ?? '')?.[1];
  return pid === undefined ? null : Number(pid);
}

export function asDaemon(state: string): LockRequest {
  return {
    locks: [daemonLock(state)],
    holder: `umlsnap daemon (pid ${process.pid})`,
    what: `The state directory ${state}`,
    wait: false,
  };
}
