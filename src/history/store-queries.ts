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
 * @param inUse the names that the config has: of two stores in use, one may be a copy of the other, marker and all
 */
export async function upsertStore(
  db: Transaction<Tables>,
  { store, id }: { store: string; id: string },
  inUse: readonly string[],
): Promise<void> {
  const known = await db.selectFrom('stores').select('store').where('id', '=', id).execute();
  const former = inUse.length === 0 ? undefined : known.find((one) => !inUse.includes(one.store));
  if (former && former.store !== store) await exchange(db, store, former.store);
  await db
    .insertInto('stores')
    .values({ store, id })
    .onConflict((conflict) => conflict.column('store').doUpdateSet({ id }))
    .execute();
}

async function exchange(db: Transaction<Tables>, one: string, other: string): Promise<void> {
  for (const [from, to] of [[one, aside] as const, [other, one] as const, [aside, other] as const])
    for (const table of tablesByStore)
      await db.updateTable(table).set({ store: to }).where('store', '=', from).execute();
}
