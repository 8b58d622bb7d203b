import type { Kysely, Migration } from 'kysely';
import { sql } from 'kysely';
import { pauseBucketOf } from '../pause-buckets.js';

/**
 * What a page of all guests, and a scrape of metrics, need of a history of a million jobs: indexes that lead to the newest
 * of each guest, and totals, kept as jobs and pauses end, so that nobody ever counts.
 */
export const overview: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await createIndexes(db);
    await createTotals(db);
    await countWhatIsThere(db);
  },
};

async function createIndexes(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createIndex('jobs_by_guest_and_kind')
    .on('jobs')
    .columns(['guest', 'kind', 'started_at', 'status', 'job'])
    .execute();
  await db.schema.createIndex('jobs_by_status').on('jobs').columns(['status', 'started_at']).execute();
  await db.schema.createIndex('pauses_by_guest').on('pauses').columns(['guest', 'intended_at']).execute();
}

async function createTotals(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('job_totals')
    // Empty for jobs of no guest: a part of a key can't be null.
    .addColumn('guest', 'text', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('jobs', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('job_totals_key', ['guest', 'kind', 'status'])
    .execute();
  await db.schema
    .createTable('pause_totals')
    .addColumn('guest', 'text', (column) => column.notNull())
    /** See pause-buckets.ts. */
    .addColumn('bucket', 'bigint', (column) => column.notNull())
    .addColumn('pauses', 'bigint', (column) => column.notNull())
    .addColumn('total_ms', 'double precision', (column) => column.notNull())
    .addPrimaryKeyConstraint('pause_totals_key', ['guest', 'bucket'])
    .execute();
}

async function countWhatIsThere(db: Kysely<unknown>): Promise<void> {
  await sql`insert into job_totals (guest, kind, status, jobs)
    select coalesce(guest, ''), kind, status, count(*) from jobs
    where status <> 'running' group by coalesce(guest, ''), kind, status`.execute(db);
  const bucket = pauseBucketOf(sql.ref('paused_ms'));
  await sql`insert into pause_totals (guest, bucket, pauses, total_ms)
    select guest, ${bucket}, count(*), sum(paused_ms) from pauses
    where paused_ms is not null group by guest, ${bucket}`.execute(db);
}
