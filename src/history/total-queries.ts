import type { Kysely, Transaction } from 'kysely';
import { sql } from 'kysely';
import { pauseBucket } from './pause-buckets.js';
import type { JobKind, JobStatus, PauseRecord } from './records.js';
import type { JobsTable, Tables } from './tables.js';

/**
 * Counts of all that ever ended. Each is raised in the transaction that writes the end itself, which happens once: so the
 * totals are the history's, to the row, without anybody counting it.
 */

export interface JobTotal {
  /** null: jobs of no guest. */
  guest: string | null;
  kind: JobKind;
  status: Exclude<JobStatus, 'running'>;
  jobs: number;
}

export interface PauseTotal {
  guest: string;
  /** See pause-buckets.ts. */
  bucket: number;
  pauses: number;
  totalMs: number;
}

export async function countJob(
  db: Transaction<Tables>,
  { guest, kind }: Pick<JobsTable, 'guest' | 'kind'>,
  status: string,
): Promise<void> {
  await db
    .insertInto('job_totals')
    .values({ guest: guest ?? '', kind, status, jobs: 1 })
    .onConflict((conflict) =>
      conflict.columns(['guest', 'kind', 'status']).doUpdateSet({ jobs: sql`job_totals.jobs + 1` }),
    )
    .execute();
}

/** One that nobody measured is in no class. */
export async function countPause(
  db: Transaction<Tables>,
  { guest, pausedMs }: Pick<PauseRecord, 'guest' | 'pausedMs'>,
): Promise<void> {
  if (pausedMs === null) return;
  await db
    .insertInto('pause_totals')
    .values({ guest, bucket: pauseBucket(pausedMs), pauses: 1, total_ms: pausedMs })
    .onConflict((conflict) =>
      conflict.columns(['guest', 'bucket']).doUpdateSet({
        pauses: sql`pause_totals.pauses + 1`,
        total_ms: sql`pause_totals.total_ms + ${pausedMs}`,
      }),
    )
    .execute();
}

export async function selectJobTotals(db: Kysely<Tables>): Promise<JobTotal[]> {
  const rows = await db.selectFrom('job_totals').selectAll().execute();
  return rows.map(({ guest, kind, status, jobs }) => ({
    guest: guest === '' ? null : guest,
    kind: kind as JobKind,
    status: status as JobTotal['status'],
    jobs: Number(jobs),
  }));
}

export async function selectPauseTotals(db: Kysely<Tables>): Promise<PauseTotal[]> {
  const rows = await db.selectFrom('pause_totals').selectAll().execute();
  return rows.map(({ guest, bucket, pauses, total_ms }) => ({
    ...{ guest, bucket: Number(bucket), pauses: Number(pauses), totalMs: total_ms },
  }));
}
