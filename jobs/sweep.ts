import type { GuestConfig } from '../src/config/config.js';
import { UmlsnapError } from '../src/errors.js';
import type { SnapshotStore } from '../src/snapshot/ports.js';
import { retain } from '../src/snapshot/retain.js';
import { type PruneHouse, prune } from './prune.js';
import type { JobSummary, OnJob } from './recorded-job.js';

export interface SweepHouse extends Omit<PruneHouse, 'store'> {
  /** @throws NoSuchStore */
  store(name: string): SnapshotStore & { isMounted(expectedId: string | null): Promise<boolean> };
}

/** What a sweep came to for one guest. */
export type Swept =
  | { guest: string; found: 'nothingExpired' }
  /** Another sweep comes soon enough. */
  | { guest: string; found: 'notNow'; why: UmlsnapError | 'storeAway' }
  | { guest: string; found: 'expired'; summary: JobSummary };

/**
 * Removes a guest's expired snapshots, if it has any: only then is there a job, so that a sweep a minute doesn't fill the
 * history. Nothing here is safer or less safe than `prune` by hand, which does it.
 */
export async function sweepGuest(
  config: GuestConfig,
  { store: storeNamed, history, stateDirectory }: SweepHouse,
  onJob?: OnJob,
): Promise<Swept> {
  const guest = config.name;
  if (Object.keys(config.keep).length === 0) return { guest, found: 'nothingExpired' };
  try {
    const store = storeNamed(config.store);
    const known = await history.storeId(store.name);
    if (known === null || !(await store.isMounted(known)))
      return { guest, found: 'notNow', why: 'storeAway' };
    const { removed } = await retain(config, store, history, { now: new Date(), dryRun: true });
    if (removed.length === 0) return { guest, found: 'nothingExpired' };
    const origin = { trigger: 'sweep' as const, ...(onJob && { onJob }) };
    return {
      guest,
      found: 'expired',
      summary: await prune(config, { dryRun: false }, { stateDirectory, store, history }, origin),
    };
  } catch (error) {
    // Somebody works on the guest, or its store or the history can't be read now.
    if (!(error instanceof UmlsnapError)) throw error;
    return { guest, found: 'notNow', why: error };
  }
}
