import type { Kysely, Migration } from 'kysely';
import { sql } from 'kysely';

/**
 * What is bad in a guest's filesystem is bad in every copy of what a job captured: so it is kept by that job, and outlives the copy
 * that was looked at. Of several verifications of before, the last one counts.
 * Damage in what no row tells of was found in snapshots of other hosts too, of which nothing is kept any more.
 */
export const findings: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('bad_filesystems')
      .addColumn('guest', 'text', (column) => column.notNull())
      .addColumn('job', 'text', (column) => column.notNull())
      .addColumn('store', 'text', (column) => column.notNull())
      .addColumn('found_at', 'text', (column) => column.notNull())
      .addColumn('problem', 'text')
      .addPrimaryKeyConstraint('bad_filesystems_key', ['guest', 'job'])
      .execute();
    await sql`insert into bad_filesystems (guest, job, store, found_at, problem)
      select s.guest, s.job, f.store, f.verified_at, f.problem from verifications f
      join snapshots s on s.store = f.store and s.snapshot = f.snapshot
      where f.result = 'badFilesystem' and s.job is not null
      order by f.verified_at
      on conflict (guest, job) do update
      set store = excluded.store, found_at = excluded.found_at, problem = excluded.problem`.execute(db);
    await sql`delete from verifications where result = 'damaged' and not exists (
      select 1 from snapshots s where s.store = verifications.store and s.snapshot = verifications.snapshot)`.execute(
      db,
    );
    await db.schema.createIndex('snapshots_by_job').on('snapshots').columns(['job', 'guest']).execute();
  },
};
