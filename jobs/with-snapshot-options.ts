import type { GuestConfig } from '../src/config/config.js';
import type { SnapshotOptions } from '../src/control/request.js';
import type { BackupOrder } from './backup.js';

/** A backup of this guest as the config says, but for what was asked otherwise this once. */
export function withSnapshotOptions(
  config: GuestConfig,
  options: SnapshotOptions,
): Pick<BackupOrder, 'config' | 'labels' | 'pinned' | 'dryRun' | 'wait'> {
  const { budgetMs, require, capture, store, labels, pinned, dryRun, wait } = options;
  return {
    config: {
      ...config,
      ...(budgetMs !== undefined && { pauseBudgetMs: budgetMs }),
      ...(require !== undefined && { require }),
      ...(capture !== undefined && { capture }),
      // That one only: the config's others are left to the next job.
      ...(store !== undefined && { store, otherStores: [] }),
    },
    labels: { ...config.labels, ...labels },
    pinned: pinned ?? false,
    dryRun: dryRun ?? false,
    wait: wait ?? false,
  };
}
