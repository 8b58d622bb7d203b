import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import { applyKeepPolicy, type RetentionPlan } from '../retention/apply-keep-policy.js';
import type { StoredSnapshot } from '../store/stored-snapshots.js';
import type { Store } from '../store/store.js';
import type { SnapshotHistory } from './ports.js';

export interface Retained {
  kept: { snapshot: string; reasons: string[] }[];
  removed: { snapshot: string; reason: string }[];
  warnings: string[];
}

/**
 * Removes a guest's expired snapshots. MUST run only after a snapshot that succeeded, or by hand. Each is taken out of the
 * store durably before the history says that it is gone, and deleted after that. What can't be removed now stays, with a
 * warning: a snapshot too many harms nobody.
 */
export async function retain(
  config: GuestConfig,
  store: Pick<Store, 'name' | 'list' | 'moveToTrash' | 'emptyTrash'>,
  history: Pick<SnapshotHistory, 'forgetSnapshot'>,
  options: { now: Date; dryRun?: boolean },
): Promise<Retained> {
  const plan = planRetention(config, await store.list(config.name), options.now);
  const retained: Retained = { kept: plan.keep, removed: [], warnings: [] };
  if (options.dryRun) return { ...retained, removed: plan.remove };
  for (const { snapshot, reason } of plan.remove) {
    try {
      await store.moveToTrash(snapshot);
      await history.forgetSnapshot(store.name, snapshot, { removedAt: options.now.toISOString(), reason });
      retained.removed.push({ snapshot, reason });
    } catch (error) {
      retained.warnings.push(`expired snapshot ${snapshot} could not be removed: ${explainError(error)}`);
    }
  }
  await store.emptyTrash();
  return retained;
}

/** What the guest's keep rules say of these snapshots, if they lie together in one store. Pure. */
export function planRetention(config: GuestConfig, snapshots: StoredSnapshot[], now: Date): RetentionPlan {
  const candidates = snapshots.map((found) =>
    'manifest' in found
      ? {
          snapshot: found.snapshot,
          takenAt: found.manifest.takenAt,
          pinned: found.manifest.pinned,
          good: true,
        }
      : { snapshot: found.snapshot, takenAt: takenAtOf(found.snapshot), pinned: false, good: false },
  );
  return applyKeepPolicy(candidates, config.keep, { now, timezone: config.timezone });
}

/** A snapshot whose manifest can't be read still carries its time in its name, `guest@20261121T031500Z`. */
function takenAtOf(snapshot: string): string {
  const time = /@(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(snapshot);
  if (!time) return new Date(0).toISOString();
  const [, year, month, day, hour, minute, second] = time;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
}
