import type { Kysely, Migration } from 'kysely';

/** What guests say by themselves. */
export const guestEvents: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('events')
      .addColumn('number', 'bigint', (column) => column.primaryKey())
      .addColumn('at', 'text', (column) => column.notNull())
      .addColumn('guest', 'text', (column) => column.notNull())
      .addColumn('type', 'text', (column) => column.notNull())
      .addColumn('text', 'text', (column) => column.notNull())
      .addColumn('missed', 'bigint', (column) => column.notNull())
      .execute();
    await db.schema
      .createIndex('events_by_guest')
      .on('events')
      .columns(['guest', 'type', 'number'])
      .execute();
  },
};
