import { withGuardian } from '../pause/guardian.js';
import { leaseFile } from '../pause/lease.js';
import { PausePage } from '../pause/pause-page.js';
import type { ProcessIdentity } from '../process-identity.js';
import { type Finding, fine } from './finding.js';

export interface GuardianTry {
  guest: string;
  socketPath: string;
  main: ProcessIdentity;
  stateDirectory: string;
}

/**
 * Starts a guardian for a guest, which asks the guest for its version and is then let go: it is ordered no pause.
 * @throws GuardianFailed
 */
export async function checkGuardian({
  guest,
  socketPath,
  main,
  stateDirectory,
}: GuardianTry): Promise<Finding> {
  const about = { check: 'guardian', about: null } as const;
  const startedMs = performance.now();
  const guarded = { guest, socketPath, main, leaseFile: leaseFile(stateDirectory, guest) };
  const page = PausePage.make();
  try {
    return await withGuardian(guarded, page, async ({ identity: { pid } }) => {
      const armedAfterMs = Math.round(performance.now() - startedMs);
      const what = `A guardian starts and is armed within ${armedAfterMs} ms (tried with guest ${guest}).`;
      return fine(about, what, { pid, armedAfterMs, guest });
    });
  } finally {
    page.close();
  }
}
