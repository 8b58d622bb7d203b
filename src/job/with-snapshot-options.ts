import type { GuestConfig } from '../config/config.js';
import type { SnapshotOptions } from '../control/request.js';

export interface WantedBackup {
  config: GuestConfig;
  labels: Record<string, string>;
  pinned: boolean;
  dryRun: boolean;
  /** Wait for whoever works on the guest, instead of giving up at once. */
  wait: boolean;
}

/** A backup of this guest as the config says, but for what was asked otherwise this once. */
export function withSnapshotOptions(config: GuestConfig, options: SnapshotOptions): WantedBackup {
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
