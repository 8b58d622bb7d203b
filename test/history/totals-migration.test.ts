import { DatabaseSync } from '@photostructure/sqlite';
import { Kysely } from 'kysely';
import { expect, test } from 'vitest';
import { jobsAndSnapshots } from '../../src/history/migrations/0001-jobs-and-snapshots.js';
import { overview } from '../../src/history/migrations/0006-overview.js';
import { pauseBoundsMs, pauseBucket } from '../../src/history/pause-buckets.js';
import { sqliteDialect } from '../../src/history/sqlite-dialect.js';
import type { Tables } from '../../src/history/tables.js';
import { selectJobTotals, selectPauseTotals } from '../../src/history/total-queries.js';

const lengthsMs = [...pauseBoundsMs, ...pauseBoundsMs.map((boundMs) => boundMs + 0.001), 0];

test('the totals of a history that is older than they are count what it holds', async () => {
  const database = new DatabaseSync(':memory:');
  const db = new Kysely<Tables>({ dialect: sqliteDialect(database) });
  await jobsAndSnapshots.up(db);
  const owner = "'manual', '2026-11-21T03:15:00.000Z', 1, 1, 'boot'";
  database.exec(`insert into jobs (job, kind, guest, trigger, started_at, pid, pid_start_ticks, boot_id, status, warnings)
    values ('1', 'backup', 'a', ${owner}, 'success', '[]'), ('2', 'backup', 'a', ${owner}, 'success', '[]'),
    ('3', 'prune', null, ${owner}, 'failed', '[]'), ('4', 'backup', 'a', ${owner}, 'running', '[]')`);
  const insert = database.prepare(
    "insert into pauses (pause, job, guest, budget_ms, intended_at, paused_ms) values (?, '1', 'a', 1, '', ?)",
  );
  for (const [number, lengthMs] of [...lengthsMs, null].entries()) insert.run(String(number), lengthMs);

  await overview.up(db);
  expect(await selectJobTotals(db)).toEqual([
    { guest: null, kind: 'prune', status: 'failed', jobs: 1 },
    { guest: 'a', kind: 'backup', status: 'success', jobs: 2 },
  ]);
  const totals = await selectPauseTotals(db);
  const counted = totals.flatMap(({ bucket, pauses }) => Array<number>(pauses).fill(bucket));
  expect(counted.sort()).toEqual(lengthsMs.map(pauseBucket).sort());
  database.close();
});
