import { statSync } from 'node:fs';
import { staleInstances } from '../capture/tracing/trace-instance.js';
import { controlSocketPath } from '../control/control-socket.js';
import type { JobRecord } from '../history/records.js';
import { strayNotifySockets } from '../mconsole/notify-socket.js';
import { findDeadSocketDirectories } from '../path/socket-directory.js';
import { findFreezeLeases } from '../pause/freeze-lease.js';
import { readLeases } from '../pause/lease.js';
import { leaseFacts, planLease } from '../pause/recover-pauses.js';
import { bootId, isAlive } from '../process-identity.js';
import type { Orphan } from './orphans.js';

/** Leases of pauses whose processes are dead. @throws StateUnusable */
export async function orphanedLeases(stateDirectory: string): Promise<Orphan[]> {
  const found = await readLeases(stateDirectory);
  return found.flatMap((lease): Orphan[] => {
    const kind = { kind: 'lease' } as const;
    if ('damaged' in lease) {
      return [{ ...kind, what: `the lease ${lease.file}, which can't be read`, holdsGuest: true }];
    }
    const plan = planLease(leaseFacts(lease.lease, false));
    if (plan === 'leave' || plan === 'waitForGuardian') return [];
    const holdsGuest = plan === 'resume';
    const state = holdsGuest ? 'which may stand still' : 'which runs or is gone';
    return [{ ...kind, what: `the lease of a pause of guest ${lease.lease.guest}, ${state}`, holdsGuest }];
  });
}

/** Freezes whose processes are dead. @throws StateUnusable */
export async function orphanedFreezes(stateDirectory: string): Promise<Orphan[]> {
  const found = await findFreezeLeases(stateDirectory);
  return found.flatMap((freeze): Orphan[] => {
    const kind = { kind: 'freeze', holdsGuest: true } as const;
    if ('damaged' in freeze) return [{ ...kind, what: `the freeze ${freeze.file}, which can't be read` }];
    const { guest, orchestrator, bootId: boot } = freeze.lease;
    if (boot === bootId() && isAlive(orchestrator)) return [];
    return [{ ...kind, what: `a freeze of guest ${guest}` }];
  });
}

/** Jobs that the history takes for running, of processes that are dead. */
export function orphanedJobs(running: readonly JobRecord[]): Orphan[] {
  return running
    .filter(
      ({ bootId: boot, pid, pidStartTicks }) =>
        boot !== bootId() || !isAlive({ pid, startTicks: pidStartTicks }),
    )
    .map(({ job, guest }) => ({
      ...{ kind: 'job', holdsGuest: false },
      what: `job ${job} of guest ${guest ?? '-'}, which was cut short`,
    }));
}

export function orphanedTraceInstances(): Orphan[] {
  return staleInstances().map((name) => ({
    ...{ kind: 'traceInstance', holdsGuest: false },
    what: `the tracing ${name}`,
  }));
}

/** The control socket of a daemon that was killed, and notify sockets of guests that the config does not have. */
export function orphanedSockets(
  stateDirectory: string,
  { daemonRuns, guests }: { daemonRuns: boolean; guests: readonly string[] },
): Orphan[] {
  const notify = strayNotifySockets(stateDirectory, guests).map(({ path }) => path);
  const control = controlSocketPath(stateDirectory);
  const isLeft = !daemonRuns && statSync(control, { throwIfNoEntry: false })?.isSocket() === true;
  return (isLeft ? [control, ...notify] : notify).map((path) => ({
    ...{ kind: 'socket', holdsGuest: false },
    what: `the socket ${path}`,
  }));
}

/** The directories for sockets of dead processes. */
export function orphanedScratch(now: Date): Orphan[] {
  return findDeadSocketDirectories(now).map((path) => ({
    ...{ kind: 'scratch', holdsGuest: false },
    what: `the directory ${path}`,
  }));
}
