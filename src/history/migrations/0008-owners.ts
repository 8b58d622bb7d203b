import type { Kysely, Migration } from 'kysely';
import { sql } from 'kysely';

/** Whose snapshots are: in a store that several state directories use, those of others lie beside ours. */
export const owners: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('identity')
      .addColumn('one', 'smallint', (column) => column.primaryKey())
      .addColumn('id', 'text', (column) => column.notNull())
      .execute();
    await db.schema
      .alterTable('snapshots')
      .addColumn('own', 'smallint', (column) => column.notNull().defaultTo(0))
      .execute();
    await db.schema.alterTable('snapshots').addColumn('owner_id', 'text').execute();
    await db.schema.alterTable('snapshots').addColumn('owner_host', 'text').execute();
    // Nothing before said whose a snapshot is; but a job that we know is one of ours.
    await sql`update snapshots set own = 1 where job in (select job from jobs)`.execute(db);
    await db.schema
      .createIndex('snapshots_by_owner')
      .on('snapshots')
      .columns(['guest', 'own', 'taken_at'])
      .execute();
  },
};
