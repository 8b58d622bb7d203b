import type { Kysely, Transaction } from 'kysely';
import type { SweepRecord } from './records.js';
import type { Tables } from './tables.js';

/** Of each guest and store the last one only. */
export async function upsertSweep(db: Transaction<Tables>, sweep: SweepRecord): Promise<void> {
  const values = {
    swept_at: sweep.sweptAt,
    newest_taken_at: sweep.newestTakenAt,
    ahead_until: sweep.aheadUntil,
    boot_id: sweep.bootId,
    uptime_ms: sweep.uptimeMs,
  };
  await db
    .insertInto('sweeps')
    .values({ store: sweep.store, guest: sweep.guest, ...values })
    .onConflict((conflict) => conflict.columns(['store', 'guest']).doUpdateSet(values))
    .execute();
}

export async function selectSweep(
  db: Kysely<Tables>,
  store: string,
  guest: string,
): Promise<SweepRecord | null> {
  const row = await db
    .selectFrom('sweeps')
    .selectAll()
    .where('store', '=', store)
    .where('guest', '=', guest)
    .executeTakeFirst();
  if (!row) return null;
  return {
    store: row.store,
    guest: row.guest,
    sweptAt: row.swept_at,
    newestTakenAt: row.newest_taken_at,
    aheadUntil: row.ahead_until,
    bootId: row.boot_id,
    uptimeMs: row.uptime_ms,
  };
}
