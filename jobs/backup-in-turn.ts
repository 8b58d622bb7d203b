import { isError, type UmlsnapError } from '../src/errors.js';
import { type BackupHouse, type BackupOrder, backup } from './backup.js';
import { isBackup } from './guest-locks.js';
import type { JobSummary } from './recorded-job.js';

const minuteMs = 60_000;

export interface Turn {
  /** How long other work on the guest is waited for. */
  patienceMs?: number;
  /** Told once, when it is. */
  onPutOff?: (busy: UmlsnapError<'Busy'>) => void;
}

/**
 * A backup that is due. Work on the guest that is no backup, such as a prune or a restore, puts it off; a backup that is under way
 * takes its place.
 * @throws Busy, of what was in the way at first, and what `backup` throws
 */
export async function backupInTurn(
  order: Omit<BackupOrder, 'wait'>,
  house: BackupHouse,
  { patienceMs = 10 * minuteMs, onPutOff = () => {} }: Turn = {},
): Promise<JobSummary> {
  try {
    return await backup({ ...order, wait: false }, house);
  } catch (error) {
    if (!isError(error, 'Busy') || isBackup(error.facts.holder)) throw error;
    onPutOff(error);
    return await backupAfter(error, order, house, patienceMs);
  }
}

/** Its own patience MUST end with the wait: a backup that has begun is not given up for having waited. */
async function backupAfter(
  busy: UmlsnapError<'Busy'>,
  order: Omit<BackupOrder, 'wait'>,
  house: BackupHouse,
  patienceMs: number,
): Promise<JobSummary> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(busy), patienceMs);
  const signal = AbortSignal.any([order.signal, patience.signal]);
  const onJob: BackupOrder['onJob'] = (job) => {
    clearTimeout(timer);
    order.onJob?.(job);
  };
  try {
    return await backup({ ...order, signal, onJob, wait: true }, house);
  } finally {
    clearTimeout(timer);
  }
}
