import { readFile } from 'node:fs/promises';
import { DatabaseSync } from '@photostructure/sqlite';
import { Kysely } from 'kysely';
import { expect, test } from 'vitest';
import { selectJob, selectJobs } from '../../src/history/job-queries.js';
import { jobsAndSnapshots } from '../../src/history/migrations/0001-jobs-and-snapshots.js';
import { jobLog } from '../../src/history/migrations/0007-job-log.js';
import { phaseNames } from '../../src/history/migrations/0010-phase-names.js';
import { sqliteDialect } from '../../src/history/sqlite-dialect.js';
import type { Tables } from '../../src/history/tables.js';

test('a history of before has its phases by the names of now, a sync before the stop and a check after it', async () => {
  const database = new DatabaseSync(':memory:');
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database) });
  for (const migration of [jobsAndSnapshots, jobLog]) await migration.up(db);
  database.exec(await readFile(new URL('../fixtures/history-0007.sql', import.meta.url), 'utf8'));
  // The words of other kinds of jobs are their own.
  database.exec(`insert into jobs select 'other', 'drill', guest, trigger, started_at, pid, pid_start_ticks, boot_id, 'failed',
    finished_at, '{"phase":"sync"}', warnings, null from jobs where status = 'success'`);
  await phaseNames.up(db);

  const jobs = await Promise.all((await selectJobs(db, {})).map(({ job }) => selectJob(db, job)));
  const [done, interrupted, other] = ['success', 'interrupted', 'failed'].map((wanted) =>
    jobs.find((job) => job?.status === wanted),
  );
  database.close();
  const names = ['preflight', 'precopy', 'sync', 'stop', 'check', 'capture', 'go', 'seal', 'retain'];
  expect(done?.phases.map(({ phase }) => phase)).toEqual(names);
  expect(done?.summary?.phases).toEqual(done?.phases);
  const lines = done?.log.map(({ text }) => text.split(':')[0]);
  expect(lines).toEqual([expect.stringContaining('began'), ...names, expect.stringContaining('ended')]);
  expect(interrupted).toMatchObject({ error: { phase: 'sync' }, summary: { error: { phase: 'sync' } } });
  expect(interrupted?.log.map(({ text }) => text)).toContainEqual(
    expect.stringMatching(/^Interrupted in sync: /),
  );
  expect(other).toMatchObject({ error: { phase: 'sync' } });
});
