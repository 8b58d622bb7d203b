import type { Kysely, Migration } from 'kysely';

/** The last sweep of a guest's snapshots in a store: a clock that was set since can be told by it. */
export const retentionSweeps: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('sweeps')
      .addColumn('store', 'text', (column) => column.notNull())
      .addColumn('guest', 'text', (column) => column.notNull())
      .addColumn('swept_at', 'text', (column) => column.notNull())
      .addColumn('newest_taken_at', 'text')
      .addColumn('ahead_until', 'text')
      .addColumn('boot_id', 'text', (column) => column.notNull())
      .addColumn('uptime_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('sweeps_of', ['store', 'guest'])
      .execute();
  },
};
