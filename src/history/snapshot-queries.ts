import type { Kysely, Transaction } from 'kysely';
import { deleteFindings } from './findings-queries.js';
import type { SnapshotRecord } from './records.js';
import { snapshotRecord } from './rows.js';
import type { Tables } from './tables.js';

export interface SnapshotFilter {
  guest?: string;
  store?: string;
  /** Only our own. */
  own?: true;
}

export interface Removal {
  removedAt: string;
  reason: string;
}

/**
 * Inserts or replaces; one that was marked removed is there again. What was found of a copy that another job has made, and that had
 * the name there before, says nothing of this one.
 */
export async function upsertSnapshot(db: Transaction<Tables>, snapshot: SnapshotRecord): Promise<void> {
  const former = await db
    .selectFrom('snapshots')
    .select('job')
    .where('store', '=', snapshot.store)
    .where('snapshot', '=', snapshot.snapshot)
    .executeTakeFirst();
  if (former && former.job !== snapshot.job) await deleteFindings(db, snapshot.store, snapshot.snapshot);
  const values = {
    guest: snapshot.guest,
    job: snapshot.job,
    taken_at: snapshot.takenAt,
    consistency: snapshot.consistency,
    dirty_kib: snapshot.dirtyKib,
    method: snapshot.method,
    paused_ms: snapshot.pausedMs,
    size_bytes: snapshot.sizeBytes,
    stored_bytes: snapshot.storedBytes,
    pinned: snapshot.pinned ? 1 : 0,
    labels: JSON.stringify(snapshot.labels),
    manifest_sha256: snapshot.manifestSha256,
    own: snapshot.own ? 1 : 0,
    owner_id: snapshot.owner?.id ?? null,
    owner_host: snapshot.owner?.host ?? null,
    removed_at: null,
    removal_reason: null,
  };
  await db
    .insertInto('snapshots')
    .values({ store: snapshot.store, snapshot: snapshot.snapshot, ...values })
    .onConflict((conflict) => conflict.columns(['store', 'snapshot']).doUpdateSet(values))
    .execute();
}

/** Marks it removed. The first removal stands; a snapshot that the history never knew needs no mark. */
export async function markRemoved(
  db: Transaction<Tables>,
  store: string,
  snapshot: string,
  removal: Removal,
): Promise<void> {
  await db
    .updateTable('snapshots')
    .set({ removed_at: removal.removedAt, removal_reason: removal.reason })
    .where('store', '=', store)
    .where('snapshot', '=', snapshot)
    .where('removed_at', 'is', null)
    .execute();
}

export async function selectSnapshots(db: Kysely<Tables>, filter: SnapshotFilter): Promise<SnapshotRecord[]> {
  let query = db
    .selectFrom('snapshots')
    .selectAll()
    .where('removed_at', 'is', null)
    .orderBy('taken_at', 'desc')
    .orderBy('snapshot', 'desc');
  if (filter.guest !== undefined) query = query.where('guest', '=', filter.guest);
  if (filter.store !== undefined) query = query.where('store', '=', filter.store);
  if (filter.own) query = query.where('own', '=', 1);
  return (await query.execute()).map(snapshotRecord);
}
