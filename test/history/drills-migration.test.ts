import { DatabaseSync } from '@photostructure/sqlite';
import { Kysely } from 'kysely';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { jobsAndSnapshots } from '../../src/history/migrations/0001-jobs-and-snapshots.js';
import { guestEvents } from '../../src/history/migrations/0002-guest-events.js';
import { verifications } from '../../src/history/migrations/0003-verifications.js';
import { drills } from '../../src/history/migrations/0004-drills.js';
import { retentionSweeps } from '../../src/history/migrations/0005-retention-sweeps.js';
import { overview } from '../../src/history/migrations/0006-overview.js';
import { jobLog } from '../../src/history/migrations/0007-job-log.js';
import { sqliteDialect } from '../../src/history/sqlite-dialect.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { withTempDir } from '../support/temp-dir.js';

const before = {
  ...{ '0001-jobs-and-snapshots': jobsAndSnapshots, '0002-guest-events': guestEvents },
  ...{ '0003-verifications': verifications, '0004-drills': drills },
  ...{ '0005-retention-sweeps': retentionSweeps, '0006-overview': overview, '0007-job-log': jobLog },
};
const at = '2026-11-21T03:15:00.000Z';

/** A history of schema 7, as its migrations and its inserts have left it. */
async function writeOld(file: string): Promise<void> {
  const database = new DatabaseSync(file);
  const db = new Kysely<unknown>({ dialect: sqliteDialect(database) });
  for (const migration of Object.values(before)) await migration.up(db);
  database.exec(
    'create table kysely_migration (name varchar(255) not null primary key, timestamp varchar(255) not null)',
  );
  database.exec(
    'create table kysely_migration_lock (id varchar(255) not null primary key, is_locked integer not null default 0)',
  );
  database.exec("insert into kysely_migration_lock values ('migration_lock', 0)");
  const done = database.prepare('insert into kysely_migration values (?, ?)');
  for (const name of Object.keys(before)) done.run(name, at);
  const job =
    database.prepare(`insert into jobs (job, kind, guest, trigger, started_at, pid, pid_start_ticks, boot_id, status, warnings, summary)
    values (?, 'drill', 'a', 'manual', '${at}', 1, 1, 'boot', 'success', '[]', ?)`);
  job.run('tells', JSON.stringify({ snapshot: 'a@1', store: 'archive' }));
  job.run('silent', JSON.stringify({ snapshot: 'a@2' }));
  const snapshot =
    database.prepare(`insert into snapshots (store, snapshot, job, guest, taken_at, consistency, dirty_kib, method, paused_ms,
    size_bytes, stored_bytes, pinned, labels, manifest_sha256, removed_at) values (?, ?, ?, 'a', '${at}', 'synced', 0, 'copy', 1, 1, 1, 0, '{}', '', ?)`);
  for (const [store, name, removedAt] of [
    ...[
      ['local', 'a@1', null],
      ['archive', 'a@1', null],
    ],
    ...[
      ['zlocal', 'a@2', null],
      ['archive', 'a@2', null],
      ['staging', 'a@3', at],
      ['archive', 'a@3', null],
    ],
  ] as const)
    snapshot.run(String(store), String(name), `job of ${name}`, removedAt ?? null);
  // Those are ours.
  for (const name of ['a@1', 'a@2', 'a@3']) job.run(`job of ${name}`, '{}');
  const drill = database.prepare(`insert into drills values (?, 'a', ?, '${at}', ?, ?)`);
  drill.run('a@1', 'tells', 1, null);
  drill.run('a@2', 'silent', 0, 'its init ended');
  drill.run('a@3', 'gone', 1, null);
  drill.run('a@4', 'gone', 1, null);
  database
    .prepare("insert into verifications values ('local', 'a@1', null, ?, 'damaged', 'a byte', 7, '[]')")
    .run(at);
  // Of a copy that is gone.
  database
    .prepare("insert into verifications values ('staging', 'a@3', null, ?, 'badFilesystem', 'ubd0', 7, '[]')")
    .run(at);
  // Another's, who has the guest's name.
  database
    .prepare("insert into verifications values ('local', 'a@9', null, ?, 'damaged', 'a byte', 7, '[]')")
    .run(at);
  database.close();
}

test('of a history of schema 7, drills belong to the store that their job names, or to the first that has the snapshot, and a bad filesystem to every copy', async () => {
  await withTempDir(async (dir) => {
    const file = join(dir, 'history.db');
    await writeOld(file);
    const history = await SqliteHistory.open(file);
    try {
      const found = (await history.drills()).map(({ snapshot, store, passed }) => [snapshot, store, passed]);
      expect(found).toEqual([
        ['a@4', '', true],
        ['a@3', 'archive', true],
        ['a@2', 'zlocal', false],
        ['a@1', 'archive', true],
      ]);
      expect(await history.badFindings({})).toEqual({
        verifications: [
          { snapshot: 'a@1', store: 'local', verifiedAt: at, result: 'damaged', problem: 'a byte' },
        ],
        drills: [
          { snapshot: 'a@2', store: 'zlocal', drilledAt: at, passed: false, problem: 'its init ended' },
        ],
        filesystems: [{ guest: 'a', job: 'job of a@3', store: 'staging', foundAt: at, problem: 'ubd0' }],
        copies: [
          { snapshot: 'a@1', store: 'local', job: 'job of a@1' },
          { snapshot: 'a@2', store: 'zlocal', job: 'job of a@2' },
          { snapshot: 'a@3', store: 'archive', job: 'job of a@3' },
        ],
      });
    } finally {
      history.close();
    }
  });
});
