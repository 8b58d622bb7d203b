import type { Kysely, Migration } from 'kysely';

/** How the last drill of each snapshot ended. */
export const drills: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('drills')
      .addColumn('snapshot', 'text', (column) => column.primaryKey())
      .addColumn('guest', 'text', (column) => column.notNull())
      .addColumn('job', 'text', (column) => column.notNull())
      .addColumn('drilled_at', 'text', (column) => column.notNull())
      .addColumn('passed', 'integer', (column) => column.notNull())
      .addColumn('problem', 'text')
      .execute();
    await db.schema.createIndex('drills_by_guest').on('drills').columns(['guest', 'drilled_at']).execute();
  },
};
