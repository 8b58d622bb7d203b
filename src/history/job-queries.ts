import type { Kysely, Transaction } from 'kysely';
import { UmlsnapError } from '../errors.js';
import type {
  JobEnd,
  JobKind,
  JobLogLine,
  JobRecord,
  JobStart,
  JobStatus,
  PauseRecord,
  PhaseRecord,
} from './records.js';
import { jobRecord, pauseRecord, phaseRecord } from './rows.js';
import type { Tables } from './tables.js';
import { countJob } from './total-queries.js';

/** Queries over jobs and their phases; generic SQL only, so that PostgreSQL can stand behind the same port. */

/** Those of these that are in the history. */
export async function selectKnownJobs(db: Kysely<Tables>, jobs: readonly string[]): Promise<Set<string>> {
  const known = new Set<string>();
  // A statement takes a bounded number of values.
  for (let at = 0; at < jobs.length; at += 500) {
    const some = jobs.slice(at, at + 500);
    const rows = await db.selectFrom('jobs').select('job').where('job', 'in', some).execute();
    for (const { job } of rows) known.add(job);
  }
  return known;
}

export interface JobFilter {
  guest?: string;
  kind?: JobKind;
  status?: JobStatus;
  limit?: number;
  /** The newest so many are passed over. */
  offset?: number;
}

export type JobWithDetails = JobRecord & {
  phases: PhaseRecord[];
  pauses: PauseRecord[];
  /** Empty until the job has ended. */
  log: JobLogLine[];
};

export async function insertJob(db: Transaction<Tables>, start: JobStart): Promise<void> {
  await db
    .insertInto('jobs')
    .values({
      job: start.job,
      kind: start.kind,
      guest: start.guest,
      trigger: start.trigger,
      started_at: start.startedAt,
      pid: start.pid,
      pid_start_ticks: start.pidStartTicks,
      boot_id: start.bootId,
      status: 'running',
      finished_at: null,
      error: null,
      warnings: '[]',
      summary: null,
    })
    .execute();
}

/** @throws NoSuchJob */
export async function insertPhase(db: Transaction<Tables>, job: string, phase: PhaseRecord): Promise<void> {
  await requireJob(db, job);
  const last = await db
    .selectFrom('phases')
    .where('job', '=', job)
    .select(({ fn }) => fn.max('number').as('number'))
    .executeTakeFirst();
  await db
    .insertInto('phases')
    .values({
      job,
      number: Number(last?.number ?? 0) + 1,
      phase: phase.phase,
      started_at: phase.startedAt,
      duration_ms: phase.durationMs,
      outcome: phase.outcome,
      facts: JSON.stringify(phase.facts),
    })
    .execute();
}

/** @throws NoSuchJob, JobEnded */
export async function endJob(
  db: Transaction<Tables>,
  job: string,
  end: JobEnd,
  log: readonly JobLogLine[],
): Promise<void> {
  const { status, ...of } = await requireJob(db, job);
  if (status !== 'running') throw new UmlsnapError('JobEnded', { job, status });
  await db
    .updateTable('jobs')
    .set({
      status: end.status,
      finished_at: end.finishedAt,
      error: end.error === null ? null : JSON.stringify(end.error),
      warnings: JSON.stringify(end.warnings),
      summary: JSON.stringify(end.summary),
    })
    .where('job', '=', job)
    .execute();
  await insertLog(db, job, log);
  await countJob(db, of, end.status);
}

export async function selectJobs(db: Kysely<Tables>, filter: JobFilter): Promise<JobRecord[]> {
  let query = db.selectFrom('jobs').selectAll().orderBy('started_at', 'desc').orderBy('job', 'desc');
  if (filter.guest !== undefined) query = query.where('guest', '=', filter.guest);
  if (filter.kind !== undefined) query = query.where('kind', '=', filter.kind);
  if (filter.status !== undefined) query = query.where('status', '=', filter.status);
  if (filter.limit !== undefined) query = query.limit(filter.limit);
  if (filter.offset !== undefined) query = query.offset(filter.offset);
  return (await query.execute()).map(jobRecord);
}

export async function selectJob(db: Kysely<Tables>, job: string): Promise<JobWithDetails | undefined> {
  const row = await db.selectFrom('jobs').selectAll().where('job', '=', job).executeTakeFirst();
  if (row === undefined) return undefined;
  const phases = await db.selectFrom('phases').selectAll().where('job', '=', job).orderBy('number').execute();
  const pauses = await db
    .selectFrom('pauses')
    .selectAll()
    .where('job', '=', job)
    .orderBy('intended_at')
    .orderBy('pause')
    .execute();
  return {
    ...jobRecord(row),
    phases: phases.map(phaseRecord),
    pauses: pauses.map(pauseRecord),
    log: await selectLog(db, job),
  };
}

/** What a job is, and its status: one that must be there. @throws NoSuchJob */
export async function requireJob(
  db: Transaction<Tables>,
  job: string,
): Promise<{ status: string; kind: string; guest: string | null }> {
  const row = await db
    .selectFrom('jobs')
    .select(['status', 'kind', 'guest'])
    .where('job', '=', job)
    .executeTakeFirst();
  if (row === undefined) throw new UmlsnapError('NoSuchJob', { job });
  return row;
}

/** In their order, which is not always that of their times: a clock may be set meanwhile. */
async function insertLog(db: Transaction<Tables>, job: string, lines: readonly JobLogLine[]): Promise<void> {
  // One at a time: a statement takes only so many values.
  for (const [index, { at, level, text }] of lines.entries()) {
    await db
      .insertInto('job_log')
      .values({ job, number: index + 1, at, level, text })
      .execute();
  }
}

async function selectLog(db: Kysely<Tables>, job: string): Promise<JobLogLine[]> {
  const rows = await db
    .selectFrom('job_log')
    .select(['at', 'level', 'text'])
    .where('job', '=', job)
    .orderBy('number')
    .execute();
  return rows.map(({ level, ...row }) => ({ ...row, level: level as JobLogLine['level'] }));
}
