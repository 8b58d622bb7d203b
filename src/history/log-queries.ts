import type { Kysely, Transaction } from 'kysely';
import type { JobLogLine } from './records.js';
import type { Tables } from './tables.js';

/** In their order, which is not always that of their times: a clock may be set meanwhile. */
export async function insertLog(
  db: Transaction<Tables>,
  job: string,
  lines: readonly JobLogLine[],
): Promise<void> {
  // One at a time: a statement takes only so many values.
  for (const [index, { at, level, text }] of lines.entries()) {
    await db
      .insertInto('job_log')
      .values({ job, number: index + 1, at, level, text })
      .execute();
  }
}

export async function selectLog(db: Kysely<Tables>, job: string): Promise<JobLogLine[]> {
  const rows = await db
    .selectFrom('job_log')
    .select(['at', 'level', 'text'])
    .where('job', '=', job)
    .orderBy('number')
    .execute();
  return rows.map(({ level, ...row }) => ({ ...row, level: level as JobLogLine['level'] }));
}
