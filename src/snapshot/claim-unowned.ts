import { hostname } from 'node:os';
import { explainError } from '../error-text.js';
import { isHistoryFailure } from '../errors.js';
import type { SnapshotRecord } from '../history/records.js';
import { isSound, ownerOf, type StoredSnapshot } from '../store/stored-snapshots.js';
import { recordOf } from './describe-snapshot.js';
import { plainHost } from './ownership.js';
import type { SnapshotStore } from './ports.js';

/** What a claim asks of the history, and tells it. */
export interface ClaimHistory {
  stateId(): Promise<string | null>;
  recordSnapshot(snapshot: SnapshotRecord): Promise<void>;
}

/**
 * Writes our name onto those of our snapshots that the first format has left without an owner: another host that adopts what is
 * nobody's would take them. It MUST be durable in the store before the history says so, as an adoption is. What can't be claimed now
 * is a warning, and ours all the same. MUST hold the lock of the guest's part of the store.
 * @param own all of ours there
 * @returns whether any was claimed: then it is not as it was listed
 * @throws HistoryUnusable, HistoryLocked
 */
export async function claimUnowned(
  own: readonly StoredSnapshot[],
  store: Pick<SnapshotStore, 'name' | 'amend' | 'storedBytesOf'>,
  history: ClaimHistory,
  warnings: string[],
): Promise<boolean> {
  const unowned = own.filter((stored) => isSound(stored) && ownerOf(stored) === undefined);
  const id = unowned.length === 0 ? null : await history.stateId();
  if (id === null) return false;
  try {
    for (const stored of unowned) {
      const manifest = await store.amend(stored, { owner: { id, host: plainHost(hostname()) } });
      await history.recordSnapshot(
        recordOf(store.name, manifest, 'own', await store.storedBytesOf(manifest)),
      );
    }
  } catch (error) {
    if (isHistoryFailure(error)) throw error;
    warnings.push(
      `older snapshots in store ${store.name} could not be marked as this host's: ${explainError(error)}`,
    );
  }
  return true;
}
