import type { GuestConfig } from '../src/config/config.js';
import { withLocks } from '../src/exclusive-lock.js';
import type { SnapshotHistory, SnapshotStore } from '../src/snapshot/ports.js';
import { retain } from '../src/snapshot/retain.js';
import { guestLocks } from './guest-locks.js';
import { type JobHistory, type JobOrigin, type JobSummary, recordedJob } from './recorded-job.js';

export interface PruneHouse {
  stateDirectory: string;
  store: SnapshotStore;
  history: SnapshotHistory & JobHistory;
}

/**
 * Applies a guest's keep rules by themselves: what a backup does after a snapshot that succeeded.
 * @throws Busy, HistoryUnusable, HistoryLocked; any other failure is in the summary
 */
export async function prune(
  config: GuestConfig,
  { dryRun, clockIsRight = false }: { dryRun: boolean; clockIsRight?: boolean },
  house: PruneHouse,
  { trigger, onJob }: JobOrigin = { trigger: 'manual' },
): Promise<JobSummary> {
  const { store, history, stateDirectory } = house;
  const locks = await guestLocks(config, store.path, stateDirectory);
  return await withLocks({ ...locks, wait: false }, () =>
    recordedJob(history, { kind: 'prune', guest: config.name, trigger }, async (run) => {
      onJob?.(run.job);
      await store.prepare(await history.storeId(store.name));
      const options = { now: new Date(), dryRun, clockIsRight };
      const { kept, removed, backings, warnings } = await retain(config, store, history, options);
      run.facts = { dryRun, kept, removed, backings };
      run.warnings = warnings;
    }),
  );
}
