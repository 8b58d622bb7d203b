import { type PruneDeps, prune } from '../../jobs/prune.js';
import type { GuestConfig } from '../config/config.js';
import { everyStoreOf, type GuestStores } from '../copies/guest-stores.js';
import { isHistoryFailure, UmlsnapError } from '../errors.js';
import type { JobSummary, OnJob } from '../job/recorded-job.js';
import { retain } from '../snapshot/retain.js';
import type { Store } from '../store/store.js';

export interface SweepDeps extends Omit<PruneDeps, 'stores'> {
  /** @throws NoSuchStore */
  storesOf(guest: GuestConfig): GuestStores;
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
  { storesOf, history, stateDirectory }: SweepDeps,
  onJob?: OnJob,
): Promise<Swept> {
  const guest = config.name;
  if (Object.keys(config.keep).length === 0) return { guest, found: 'nothingExpired' };
  try {
    const looks = await lookAtEach(everyStoreOf(storesOf(config)), config, history);
    const stores = looks.filter(({ found }) => found === 'expired').map(({ store }) => store);
    const [notNow] = looks.flatMap((look) => (look.found === 'notNow' ? [look] : []));
    if (stores.length === 0)
      return notNow ? { guest, found: 'notNow', why: notNow.why } : { guest, found: 'nothingExpired' };
    const origin = { trigger: 'sweep' as const, ...(onJob && { onJob }) };
    return {
      guest,
      found: 'expired',
      summary: await prune(config, { dryRun: false }, { stateDirectory, stores, history }, origin),
    };
  } catch (error) {
    // Somebody works on the guest, or its store or the history can't be read now.
    if (!(error instanceof UmlsnapError)) throw error;
    return { guest, found: 'notNow', why: error };
  }
}

type Look = { store: Store } & (
  | { found: 'expired' | 'nothingExpired' }
  | { found: 'notNow'; why: UmlsnapError | 'storeAway' }
);

/** Each store by itself: one that is away keeps no other one full. */
async function lookAtEach(
  stores: Store[],
  config: GuestConfig,
  history: SweepDeps['history'],
): Promise<Look[]> {
  const looks: Look[] = [];
  for (const store of stores) {
    try {
      const known = await history.storeId(store.name);
      if (known === null || !(await store.isMounted(known))) {
        looks.push({ store, found: 'notNow', why: 'storeAway' });
        continue;
      }
      const { removed } = await retain(config, store, history, { now: new Date(), dryRun: true });
      looks.push({ store, found: removed.length > 0 ? 'expired' : 'nothingExpired' });
    } catch (error) {
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      looks.push({ store, found: 'notNow', why: error });
    }
  }
  return looks;
}
