import type { Kysely, Transaction } from 'kysely';
import type { DrillRecord } from './records.js';
import type { Tables } from './tables.js';

/** Inserts, or takes the place of the drill before. */
export async function upsertDrill(db: Transaction<Tables>, drill: DrillRecord): Promise<void> {
  const { store, snapshot, guest, job, drilledAt, passed, problem } = drill;
  const values = { guest, job, drilled_at: drilledAt, passed: passed ? 1 : 0, problem };
  await db
    .insertInto('drills')
    .values({ store, snapshot, ...values })
    .onConflict((conflict) => conflict.columns(['store', 'snapshot']).doUpdateSet(values))
    .execute();
}

/** Newest first. */
export async function selectDrills(db: Kysely<Tables>): Promise<DrillRecord[]> {
  const rows = await db
    .selectFrom('drills')
    .selectAll()
    .orderBy('drilled_at', 'desc')
    .orderBy('snapshot', 'desc')
    .orderBy('store')
    .execute();
  return rows.map(({ drilled_at, passed, ...same }) => ({
    ...same,
    drilledAt: drilled_at,
    passed: passed !== 0,
  }));
}
