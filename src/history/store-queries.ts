import type { Transaction } from 'kysely';
import type { Tables } from './tables.js';

/** What is known by the name of a store. */
const tablesByStore = [
  'stores',
  'snapshots',
  'verifications',
  'drills',
  'sweeps',
  'bad_filesystems',
] as const;
/** No store's name. */
const aside = '';

/**
 * The id in the marker of a store. A store that the config calls by another name than before is the same one by its id: what is known
 * of its copies goes by the new name from then on, what was found damaged above all, and what was known by that name by the former.
 */
export async function upsertStore(db: Transaction<Tables>, store: string, id: string): Promise<void> {
  const former = await db
    .selectFrom('stores')
    .select('store')
    .where('id', '=', id)
    .where('store', '<>', store)
    .executeTakeFirst();
  const moves = former
    ? [[store, aside] as const, [former.store, store] as const, [aside, former.store] as const]
    : [];
  for (const [from, to] of moves)
    for (const table of tablesByStore)
      await db.updateTable(table).set({ store: to }).where('store', '=', from).execute();
  await db
    .insertInto('stores')
    .values({ store, id })
    .onConflict((conflict) => conflict.column('store').doUpdateSet({ id }))
    .execute();
}
