import type { Kysely, Migration } from 'kysely';

/** The first tables. Only types and clauses that SQLite and PostgreSQL share. */
export const jobsAndSnapshots: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await createJobs(db);
    await createPauses(db);
    await createSnapshots(db);
    await createSlotsAndStores(db);
  },
};

async function createJobs(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('jobs')
    .addColumn('job', 'text', (column) => column.primaryKey())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('guest', 'text')
    .addColumn('trigger', 'text', (column) => column.notNull())
    .addColumn('started_at', 'text', (column) => column.notNull())
    .addColumn('pid', 'bigint', (column) => column.notNull())
    .addColumn('pid_start_ticks', 'bigint', (column) => column.notNull())
    .addColumn('boot_id', 'text', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('finished_at', 'text')
    .addColumn('error', 'text')
    .addColumn('warnings', 'text', (column) => column.notNull())
    .addColumn('summary', 'text')
    .execute();
  await db.schema.createIndex('jobs_by_start').on('jobs').columns(['started_at', 'job']).execute();
  await db.schema.createIndex('jobs_by_guest').on('jobs').columns(['guest', 'started_at']).execute();
  await db.schema
    .createTable('phases')
    .addColumn('job', 'text', (column) => column.notNull().references('jobs.job'))
    .addColumn('number', 'bigint', (column) => column.notNull())
    .addColumn('phase', 'text', (column) => column.notNull())
    .addColumn('started_at', 'text', (column) => column.notNull())
    .addColumn('duration_ms', 'double precision', (column) => column.notNull())
    .addColumn('outcome', 'text', (column) => column.notNull())
    .addColumn('facts', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('phases_key', ['job', 'number'])
    .execute();
}

async function createPauses(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('pauses')
    .addColumn('pause', 'text', (column) => column.primaryKey())
    .addColumn('job', 'text', (column) => column.notNull().references('jobs.job'))
    .addColumn('guest', 'text', (column) => column.notNull())
    .addColumn('budget_ms', 'double precision', (column) => column.notNull())
    .addColumn('intended_at', 'text', (column) => column.notNull())
    .addColumn('paused_ms', 'double precision')
    .addColumn('ended_by', 'text')
    .addColumn('ended_at', 'text')
    .execute();
  await db.schema.createIndex('pauses_by_job').on('pauses').columns(['job', 'intended_at']).execute();
  await db.schema.createIndex('pauses_by_end').on('pauses').column('ended_at').execute();
}

/** `job` refers to no row: a snapshot that was indexed anew from its manifest outlives the record of its job. */
async function createSnapshots(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('snapshots')
    .addColumn('store', 'text', (column) => column.notNull())
    .addColumn('snapshot', 'text', (column) => column.notNull())
    .addColumn('guest', 'text', (column) => column.notNull())
    .addColumn('job', 'text')
    .addColumn('taken_at', 'text', (column) => column.notNull())
    .addColumn('consistency', 'text', (column) => column.notNull())
    .addColumn('dirty_kib', 'bigint', (column) => column.notNull())
    .addColumn('method', 'text', (column) => column.notNull())
    .addColumn('paused_ms', 'double precision', (column) => column.notNull())
    .addColumn('size_bytes', 'bigint', (column) => column.notNull())
    .addColumn('stored_bytes', 'bigint', (column) => column.notNull())
    .addColumn('pinned', 'smallint', (column) => column.notNull())
    .addColumn('labels', 'text', (column) => column.notNull())
    .addColumn('manifest_sha256', 'text', (column) => column.notNull())
    .addColumn('removed_at', 'text')
    .addColumn('removal_reason', 'text')
    .addPrimaryKeyConstraint('snapshots_key', ['store', 'snapshot'])
    .execute();
  await db.schema.createIndex('snapshots_by_guest').on('snapshots').columns(['guest', 'taken_at']).execute();
}

async function createSlotsAndStores(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('slots')
    .addColumn('guest', 'text', (column) => column.primaryKey())
    .addColumn('slot', 'text', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('stores')
    .addColumn('store', 'text', (column) => column.primaryKey())
    .addColumn('id', 'text', (column) => column.notNull())
    .execute();
}
