import { setTimeout as sleep } from 'node:timers/promises';
import { explainError } from '../error-text.js';
import { isError } from '../errors.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { bootId, isAlive, isHeld, type ProcessIdentity } from '../process-identity.js';
import {
  type FoundLease,
  type Lease,
  type LeaseEnd,
  leaseFile,
  leaseLock,
  readLease,
  readLeaseIfAny,
  readLeases,
} from './lease.js';
import { GuestResumer } from './guest-resumer.js';
import { end } from './take-over.js';

/** What became of a lease that was found. */
export type RecoveredPause =
  /** Its processes live and it is within its time: theirs, not ours. */
  | { found: 'inProgress'; file: string; lease: Lease }
  /** Over: `end` belongs into the history, then the lease goes. */
  | { found: 'over'; file: string; lease: Lease; end: LeaseEnd; resumedByUs: boolean }
  | { found: 'mayBePaused'; file: string; guest: string; problem: string };

export type LeasePlan = 'closeAsNoted' | 'closeAsGone' | 'leave' | 'waitForGuardian' | 'resume';

export interface LeaseFacts {
  sameBoot: boolean;
  noted: boolean;
  mainAlive: boolean;
  orchestratorAlive: boolean;
  guardianAlive: boolean;
  overdueMs: number;
}

/**
 * A pause that is so long over its deadline is nobody's any more, whatever its processes look like. Far longer than a guest
 * may take to settle between the lease and the stop, which the deadline does not know of.
 */
const overdueLimitMs = 600_000;
const resumePatienceMs = 10_000;

/**
 * What to do about a lease. `go` MUST NOT go to a guest that we did not pause: not to another boot's, not to a
 * process that took over a pid, and not to one whose own guardian is at work.
 */
export function planLease(facts: LeaseFacts): LeasePlan {
  // Its own orchestrator closes it, and may be writing the next one under the same name by now.
  if (facts.noted) return facts.orchestratorAlive ? 'leave' : 'closeAsNoted';
  if (!facts.sameBoot || !facts.mainAlive) return 'closeAsGone';
  if (facts.overdueMs > overdueLimitMs) return 'resume';
  if (facts.orchestratorAlive) return 'leave';
  return facts.guardianAlive ? 'waitForGuardian' : 'resume';
}

/**
 * Resumes what dead processes of ours left paused, and only that; of one guest, if the caller holds its lock. The caller
 * MUST write each `end` to the history before it drops the lease.
 * @param patienceMs how long a guest that answers nothing, and a guardian at work, are waited for
 * @throws StateUnusable
 */
export async function recoverPauses(
  stateDirectory: string,
  guest?: string,
  patienceMs = resumePatienceMs,
): Promise<RecoveredPause[]> {
  const leases = await readLeases(stateDirectory);
  const wanted = leases.filter(
    ({ file }) => guest === undefined || file === leaseFile(stateDirectory, guest),
  );
  const recovered = await Promise.all(
    wanted.map((found) =>
      guest === undefined
        ? recoverLocked(found, stateDirectory, patienceMs)
        : recoverPause(found, { guestIsOurs: true, patienceMs }),
    ),
  );
  return recovered.filter((pause) => pause !== null);
}

/**
 * With the guest's lock, so that no job begins on the guest meanwhile and finds our `go` in its pause. Whoever holds it is
 * at work and deals with the lease himself, unless he is stopped. Where it can't be had at all, no job can begin either, and the
 * guest MUST run all the same.
 */
async function recoverLocked(
  found: FoundLease,
  stateDirectory: string,
  patienceMs: number,
): Promise<RecoveredPause | null> {
  const way: Way = { guestIsOurs: false, patienceMs };
  if ('damaged' in found) return unreadable(found.file, found.damaged);
  const { file, lease } = found;
  const locks = [leaseLock(stateDirectory, lease.guest)];
  const what = `Guest ${lease.guest}`;
  try {
    return await withLocks(
      { locks, what, holder: `umlsnap recover (pid ${process.pid})`, wait: false },
      async () => {
        const reread = await readLeaseIfAny(file);
        return reread && (await recoverPause(reread, way));
      },
    );
  } catch (error) {
    if (isError(error, 'StateUnusable')) return await recoverPause(found, way);
    if (!isError(error, 'Busy')) throw error;
    return isHeld(lease.orchestrator) ? await recoverPause(found, way) : { found: 'inProgress', file, lease };
  }
}

interface Way {
  /** The caller holds the guest's lock. */
  guestIsOurs: boolean;
  patienceMs: number;
}

async function recoverPause(found: FoundLease, { guestIsOurs, patienceMs }: Way): Promise<RecoveredPause> {
  if ('damaged' in found) return unreadable(found.file, found.damaged);
  const plan = planLease(leaseFacts(found.lease, guestIsOurs));
  if (plan !== 'waitForGuardian') return await carryOut(plan, found.file, found.lease, patienceMs);
  await waitForDeath(found.lease.guardian, patienceMs);
  const reread = await readLease(found.file);
  if ('damaged' in reread) return unreadable(found.file, reread.damaged);
  const newPlan = planLease(leaseFacts(reread.lease, guestIsOurs));
  if (newPlan !== 'waitForGuardian') return await carryOut(newPlan, reread.file, reread.lease, patienceMs);
  const { guest, guardian } = reread.lease;
  return {
    found: 'mayBePaused',
    file: found.file,
    guest,
    problem: `its guardian (pid ${guardian.pid}) is still trying`,
  };
}

async function carryOut(
  plan: Exclude<LeasePlan, 'waitForGuardian'>,
  file: string,
  lease: Lease,
  patienceMs: number,
): Promise<RecoveredPause> {
  switch (plan) {
    case 'leave':
      return { found: 'inProgress', file, lease };
    case 'closeAsNoted':
      return { found: 'over', file, lease, end: lease.ended ?? endNow('guardian'), resumedByUs: false };
    case 'closeAsGone':
      return { found: 'over', file, lease, end: endNow('guestGone'), resumedByUs: false };
    case 'resume':
      return await resume(file, lease, patienceMs);
  }
}

function unreadable(file: string, problem: string): RecoveredPause {
  const guest = file.replace(/^.*\//, '').replace(/\.json$/, '');
  return { found: 'mayBePaused', file, guest, problem: `its lease ${file} can't be read: ${problem}` };
}

function endNow(endedBy: LeaseEnd['endedBy']): LeaseEnd {
  return { pausedMs: null, endedBy, endedAt: new Date().toISOString() };
}

async function resume(file: string, lease: Lease, patienceMs: number): Promise<RecoveredPause> {
  const mayBePaused = (problem: string): RecoveredPause => ({
    found: 'mayBePaused',
    file,
    guest: lease.guest,
    problem,
  });
  let resumer: GuestResumer;
  try {
    // First of all: one that lives on, as held by a signal, could send a `stop` after we have looked.
    if (lease.pauser) await end(lease.pauser);
    resumer = await GuestResumer.open({ socketPath: lease.socketPath, main: lease.main });
  } catch (error) {
    return mayBePaused(explainError(error));
  }
  try {
    const result = await Promise.race([
      resumer.resume({ stoppedAtMs: () => null, mayProve: () => true }),
      sleep(patienceMs, undefined, { ref: false }),
    ]);
    if (!result) return mayBePaused(`it has answered no \`go\` for ${patienceMs} ms`);
    const resumedByUs = result.over === 'resumed';
    const endedBy = result.over === 'gone' ? 'guestGone' : resumedByUs ? 'recover' : 'guardian';
    return { found: 'over', file, lease, end: endNow(endedBy), resumedByUs };
  } finally {
    resumer.close();
  }
}

/** What is known of a lease now. @param guestIsOurs the caller holds the guest's lock */
export function leaseFacts(lease: Lease, guestIsOurs: boolean): LeaseFacts {
  // A job of this very process that has let go of the guest's lock no longer works on it.
  const isOurOwn = guestIsOurs && lease.orchestrator.pid === process.pid;
  return {
    sameBoot: lease.bootId === bootId(),
    noted: lease.ended !== undefined,
    mainAlive: isAlive(lease.main),
    orchestratorAlive: isAlive(lease.orchestrator) && !isHeld(lease.orchestrator) && !isOurOwn,
    guardianAlive: isAlive(lease.guardian) && !isHeld(lease.guardian),
    overdueMs: Date.now() - Date.parse(lease.deadlineAt),
  };
}

async function waitForDeath(guardian: ProcessIdentity, patienceMs: number): Promise<void> {
  const deadlineMs = performance.now() + patienceMs;
  while (isAlive(guardian) && !isHeld(guardian) && performance.now() < deadlineMs) await sleep(10);
}
