import type { Kysely, RawBuilder, Transaction } from 'kysely';
import { sql } from 'kysely';
import type { BadFilesystem, BadFindings, FindingsFilter } from './records.js';
import type { Tables } from './tables.js';

/**
 * What speaks against copies. These are the rules of `soundness` in SQL, as far as the history knows: both MUST say the same of
 * every copy, and a test holds one against the other.
 */

/** Between which the names of a guest's snapshots lie: `A` follows `@`, which no guest has in its name. */
export const namesOf = (guest: string) => ({ after: `${guest}@`, before: `${guest}A` });

/** Of copies that are not known to be gone. Walks what is bad, and never what is good. */
export async function selectBadFindings(db: Kysely<Tables>, filter: FindingsFilter): Promise<BadFindings> {
  const { guest, store } = filter;
  let verifications = db
    .selectFrom('verifications as f')
    .leftJoin('snapshots as s', (join) =>
      join.onRef('s.store', '=', 'f.store').onRef('s.snapshot', '=', 'f.snapshot'),
    )
    .select(['f.snapshot', 'f.store', 's.job', 's.own', 'f.verified_at', 'f.problem'])
    .where('f.result', '=', 'damaged')
    .where('s.removed_at', 'is', null)
    .orderBy('f.snapshot', 'desc');
  let drills = db
    .selectFrom('drills as f')
    .leftJoin('snapshots as s', (join) =>
      join.onRef('s.store', '=', 'f.store').onRef('s.snapshot', '=', 'f.snapshot'),
    )
    .select(['f.snapshot', 'f.store', 's.job', 's.own', 'f.drilled_at', 'f.problem'])
    .where('f.passed', '=', 0)
    .where('s.removed_at', 'is', null)
    .orderBy('f.snapshot', 'desc');
  if (store !== undefined) {
    verifications = verifications.where('f.store', '=', store);
    drills = drills.where('f.store', '=', store);
  }
  if (guest !== undefined) {
    const { after, before } = namesOf(guest);
    verifications = verifications.where('f.snapshot', '>', after).where('f.snapshot', '<', before);
    drills = drills.where('f.snapshot', '>', after).where('f.snapshot', '<', before);
  }
  const [damaged, failed] = [await verifications.execute(), await drills.execute()];
  const bad = await selectBadFilesystems(db, filter);
  // Damage is kept of ours alone, also where the history was lost and has no row of it; a drill, of whatever was booted.
  const own = [...damaged.filter(({ own }) => own !== 0), ...failed.filter(({ own }) => own === 1)];
  return {
    verifications: damaged.map(({ job: _, own: __, verified_at, ...same }) => ({
      ...{ ...same, verifiedAt: verified_at, result: 'damaged' as const },
    })),
    drills: failed.map(({ job: _, own: __, drilled_at, ...same }) => ({
      ...{ ...same, drilledAt: drilled_at, passed: false },
    })),
    filesystems: bad.filesystems,
    copies: [...own, ...bad.copies].map(({ snapshot, store, job }) => ({ snapshot, store, job })),
  };
}

/** Of one that was found in a store, the copies in every other one are bad as well: the filter's store says only which are listed. */
async function selectBadFilesystems(
  db: Kysely<Tables>,
  { guest, store }: FindingsFilter,
): Promise<{ filesystems: BadFilesystem[]; copies: BadFindings['copies'] }> {
  let found = db.selectFrom('bad_filesystems').selectAll();
  let copies = db
    .selectFrom('bad_filesystems as b')
    .innerJoin('snapshots as s', (join) => join.onRef('s.job', '=', 'b.job').onRef('s.guest', '=', 'b.guest'))
    .select(['s.snapshot', 's.store', 's.job'])
    .where('s.removed_at', 'is', null)
    .where('s.own', '=', 1);
  if (guest !== undefined) {
    found = found.where('guest', '=', guest);
    copies = copies.where('b.guest', '=', guest);
  }
  if (store !== undefined) copies = copies.where('s.store', '=', store);
  const rows = await found.execute();
  return {
    filesystems: rows.map(({ found_at, ...same }) => ({ ...same, foundAt: found_at })),
    copies: await copies.execute(),
  };
}

/** Of a row of `snapshots` that goes by this name, whose guest is drilled by the config where `isDrilled` is 1. */
export function isSoundRow(row: 's' | 'n', isDrilled: RawBuilder<unknown>): RawBuilder<unknown> {
  const of = (table: string) => sql`${sql.ref(`${table}.store`)} = ${sql.ref(`${row}.store`)}
    and ${sql.ref(`${table}.snapshot`)} = ${sql.ref(`${row}.snapshot`)}`;
  return sql`not exists (select 1 from verifications v where ${of('v')} and v.result = 'damaged')
    and not exists (select 1 from bad_filesystems b
      where b.guest = ${sql.ref(`${row}.guest`)} and b.job = ${sql.ref(`${row}.job`)})
    and not (${isDrilled} = 1 and exists (select 1 from drills d where ${of('d')} and d.passed = 0))`;
}

/** A copy that takes the place of one that was found bad has been found nothing: what is in its filesystems it has in common. */
export async function deleteFindings(
  db: Transaction<Tables>,
  store: string,
  snapshot: string,
): Promise<void> {
  for (const table of ['verifications', 'drills'] as const)
    await db.deleteFrom(table).where('store', '=', store).where('snapshot', '=', snapshot).execute();
}
