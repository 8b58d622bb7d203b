import type { Kysely, Migration } from 'kysely';

/** What a person wants to read of a job afterwards, line by line. */
export const jobLog: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('job_log')
      .addColumn('job', 'text', (column) => column.notNull().references('jobs.job'))
      .addColumn('number', 'bigint', (column) => column.notNull())
      .addColumn('at', 'text', (column) => column.notNull())
      .addColumn('level', 'text', (column) => column.notNull())
      .addColumn('text', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('job_log_key', ['job', 'number'])
      .execute();
  },
};
