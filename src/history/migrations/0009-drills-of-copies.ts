import type { Kysely, Migration } from 'kysely';
import { sql } from 'kysely';

/**
 * How the last drill of each copy of a snapshot ended, and indexes that lead to those that are not sound. A drill of before belongs
 * to the store that its job's summary names, or else to the first one that has had the snapshot; empty where no store has.
 */
export const drillsOfCopies: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.dropIndex('drills_by_guest').execute();
    await sql`alter table drills rename to drills_of_snapshots`.execute(db);
    await db.schema
      .createTable('drills')
      .addColumn('store', 'text', (column) => column.notNull())
      .addColumn('snapshot', 'text', (column) => column.notNull())
      .addColumn('guest', 'text', (column) => column.notNull())
      .addColumn('job', 'text', (column) => column.notNull())
      .addColumn('drilled_at', 'text', (column) => column.notNull())
      .addColumn('passed', 'integer', (column) => column.notNull())
      .addColumn('problem', 'text')
      .addPrimaryKeyConstraint('drills_key', ['store', 'snapshot'])
      .execute();
    await moveDrills(db as Kysely<Before>);
    await db.schema.dropTable('drills_of_snapshots').execute();
    await db.schema.createIndex('drills_by_guest').on('drills').columns(['guest', 'drilled_at']).execute();
    await db.schema.createIndex('drills_by_outcome').on('drills').columns(['passed', 'snapshot']).execute();
    await db.schema
      .createIndex('verifications_by_result')
      .on('verifications')
      .columns(['result', 'snapshot'])
      .execute();
  },
};

interface Drill {
  snapshot: string;
  guest: string;
  job: string;
  drilled_at: string;
  passed: number;
  problem: string | null;
}

interface Before {
  drills_of_snapshots: Drill;
  drills: Drill & { store: string };
  jobs: { job: string; summary: string | null };
  snapshots: { store: string; snapshot: string; removed_at: string | null };
}

async function moveDrills(db: Kysely<Before>): Promise<void> {
  for (const drill of await db.selectFrom('drills_of_snapshots').selectAll().execute()) {
    const store = (await storeInSummary(db, drill)) ?? (await firstStoreOf(db, drill)) ?? '';
    await db
      .insertInto('drills')
      .values({ store, ...drill })
      .execute();
  }
}

async function storeInSummary(db: Kysely<Before>, { job }: Drill): Promise<string | undefined> {
  const row = await db.selectFrom('jobs').select('summary').where('job', '=', job).executeTakeFirst();
  const store = (JSON.parse(row?.summary ?? '{}') as { store?: unknown }).store;
  return typeof store === 'string' ? store : undefined;
}

/** Rows are made in the order in which stores get a snapshot: first the one that it was captured into. */
async function firstStoreOf(db: Kysely<Before>, { snapshot }: Drill): Promise<string | undefined> {
  const rows = await db
    .selectFrom('snapshots')
    .select(['store', 'removed_at'])
    .where('snapshot', '=', snapshot)
    .execute();
  return (rows.find(({ removed_at }) => removed_at === null) ?? rows[0])?.store;
}
