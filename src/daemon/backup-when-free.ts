import { type BackupDeps, type BackupOrder, backup } from '../../jobs/backup.js';
import { isError, type UmlsnapError } from '../errors.js';
import { isBrief } from '../job/guest-locks.js';
import type { JobSummary } from '../job/recorded-job.js';

const minuteMs = 60_000;

export interface WaitOptions {
  /** How long brief work on the guest is waited for; a place among the daemon's jobs is taken meanwhile. */
  patienceMs?: number;
  /** Told once, when it is. */
  onPutOff?: (busy: UmlsnapError<'Busy'>) => void;
}

/**
 * A backup that is due. A prune, or what else is brief, puts it off; a backup that is under way takes its place, and after a
 * restore there is no guest yet to back up.
 * @throws Busy, of what was in the way at first, and what `backup` throws
 */
export async function backupWhenFree(
  order: Omit<BackupOrder, 'wait' | 'patience'>,
  deps: BackupDeps,
  { patienceMs = 10 * minuteMs, onPutOff = () => {} }: WaitOptions = {},
): Promise<JobSummary> {
  try {
    return await backup({ ...order, wait: false }, deps);
  } catch (error) {
    if (!isError(error, 'Busy') || !isBrief(error.facts.holder)) throw error;
    onPutOff(error);
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(error), patienceMs);
    const waiting = backup({ ...order, wait: true, patience: patience.signal }, deps);
    return await waiting.finally(() => clearTimeout(timer));
  }
}
