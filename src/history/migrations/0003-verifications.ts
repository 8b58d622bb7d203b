import type { Kysely, Migration } from 'kysely';

/** What the last verification of each snapshot came to. */
export const verifications: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('verifications')
      .addColumn('store', 'text', (column) => column.notNull())
      .addColumn('snapshot', 'text', (column) => column.notNull())
      .addColumn('job', 'text')
      .addColumn('verified_at', 'text', (column) => column.notNull())
      .addColumn('result', 'text', (column) => column.notNull())
      .addColumn('problem', 'text')
      .addColumn('read_bytes', 'bigint', (column) => column.notNull())
      .addColumn('filesystems', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('verifications_key', ['store', 'snapshot'])
      .execute();
  },
};
