import type { GuestConfig } from '../src/config/config.js';
import { explainError } from '../src/error-text.js';
import { isHistoryFailure, UmlsnapError } from '../src/errors.js';
import { guestLocks } from '../src/job/guest-locks.js';
import { type JobHistory, type JobOrigin, type JobSummary, recordedJob } from '../src/job/recorded-job.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import type { SnapshotHistory } from '../src/snapshot/ports.js';
import { checkStore } from '../src/snapshot/preflight.js';
import { type Retained, type RetainOptions, retain } from '../src/snapshot/retain.js';
import type { Store } from '../src/store/store.js';

export interface PruneDeps {
  stateDirectory: string;
  /** Of the guest, those that are to be pruned. */
  stores: Store[];
  history: SnapshotHistory & JobHistory;
}

/** What the rules say of one store's snapshots, and what became of that. */
type Pruned = { store: string } & Retained;

/**
 * Applies a guest's keep rules by themselves, to each of these stores: what a backup does after a snapshot that succeeded. A
 * store that can't be pruned now is a warning as long as another one can.
 * @throws Busy, HistoryUnusable, HistoryLocked; any other failure is in the summary
 */
export async function prune(
  config: GuestConfig,
  { dryRun, clockIsRight = false }: { dryRun: boolean; clockIsRight?: boolean },
  deps: PruneDeps,
  { trigger, onJob }: JobOrigin = { trigger: 'manual' },
): Promise<JobSummary> {
  const { stores, history, stateDirectory } = deps;
  const paths = stores.map(({ path }) => path);
  const locks = await guestLocks('prune', config, paths, stateDirectory);
  return await withLocks({ ...locks, wait: false }, () =>
    recordedJob(history, { kind: 'prune', guest: config.name, trigger }, async (run) => {
      onJob?.(run.job);
      const options = { dryRun, clockIsRight };
      const { pruned, failures } = await pruneEach(stores, config, options, history);
      run.facts = {
        dryRun,
        kept: pruned.flatMap(({ store, kept }) => kept.map((one) => ({ ...one, store }))),
        removed: pruned.flatMap(({ store, removed }) => removed.map((one) => ({ ...one, store }))),
        backings: pruned.map(({ store, backings }) => ({ ...backings, store })),
      };
      if (failures.length === stores.length) throw failures[0];
      run.warnings = [...failures.map(explainError), ...pruned.flatMap(({ warnings }) => warnings)];
    }),
  );
}

async function pruneEach(
  stores: Store[],
  config: GuestConfig,
  options: Omit<RetainOptions, 'now'>,
  history: PruneDeps['history'],
): Promise<{ pruned: Pruned[]; failures: UmlsnapError[] }> {
  const pruned: Pruned[] = [];
  const failures: UmlsnapError[] = [];
  for (const store of stores) {
    try {
      // One that was never used has nothing to remove, and is not made for that.
      if (!(await store.isMounted(await history.storeId(store.name)))) continue;
      await checkStore(store, history);
      // Each by its own moment: the one before may have taken hours.
      const retained = await retain(config, store, history, { ...options, now: new Date() });
      pruned.push({ store: store.name, ...retained });
    } catch (error) {
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      failures.push(error);
    }
  }
  return { pruned, failures };
}
