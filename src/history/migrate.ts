import type { Kysely, Migration } from 'kysely';
import { Migrator } from 'kysely';
import { jobsAndSnapshots } from './migrations/0001-jobs-and-snapshots.js';
import { guestEvents } from './migrations/0002-guest-events.js';
import { verifications } from './migrations/0003-verifications.js';
import { drills } from './migrations/0004-drills.js';
import { retentionSweeps } from './migrations/0005-retention-sweeps.js';
import { overview } from './migrations/0006-overview.js';
import { jobLog } from './migrations/0007-job-log.js';
import { phaseNames } from './migrations/0010-phase-names.js';
import { drillsOfCopies } from './migrations/0009-drills-of-copies.js';
import { owners } from './migrations/0008-owners.js';
import { findings } from './migrations/0011-findings.js';
import type { Tables } from './tables.js';

/** Every migration by its number and name. A published one MUST never change; a new need is a new number. */
const migrations: Record<string, Migration> = {
  '0001-jobs-and-snapshots': jobsAndSnapshots,
  '0002-guest-events': guestEvents,
  '0003-verifications': verifications,
  '0004-drills': drills,
  '0005-retention-sweeps': retentionSweeps,
  '0006-overview': overview,
  '0007-job-log': jobLog,
  '0008-owners': owners,
  '0009-drills-of-copies': drillsOfCopies,
  '0010-phase-names': phaseNames,
  '0011-findings': findings,
};

/** What stands between a database's schema and ours: `newer` means that a later umlsnap has written it. */
export type SchemaState = { state: 'current' | 'older' } | { state: 'newer'; found: string };

/** Compares the database's schema with ours; changes nothing. */
export async function schemaState(db: Kysely<Tables>): Promise<SchemaState> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === 'kysely_migration')) return { state: 'older' };
  const executed = await executedMigrations(db);
  const unknown = executed.find((name) => !(name in migrations));
  if (unknown !== undefined) return { state: 'newer', found: unknown };
  return { state: executed.length === Object.keys(migrations).length ? 'current' : 'older' };
}

/**
 * Brings the schema to ours, in one transaction that holds the write lock: of several processes that open a fresh
 * database at once, one migrates and the others find it done.
 */
export async function migrate(db: Kysely<Tables>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}

async function executedMigrations(db: Kysely<Tables>): Promise<string[]> {
  const withMigrations = db as unknown as Kysely<{ kysely_migration: { name: string } }>;
  const rows = await withMigrations
    .selectFrom('kysely_migration')
    .select('name')
    .orderBy('name', 'desc')
    .execute();
  return rows.map((row) => row.name);
}
