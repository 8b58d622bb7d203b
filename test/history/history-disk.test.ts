import { copyFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { expect, it } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { withOpen } from '../image/make-image.js';
import { withTempDir } from '../support/temp-dir.js';
import { jobStart, phase } from './records-of-tests.js';

it('a history is refused at the start or at the first read, wherever its pages were overwritten', () =>
  withTempDir(async (dir) => {
    const path = join(dir, 'history.db');
    await filledHistory(path);
    const pages = (await stat(path)).size / 4096;
    let refused = 0;
    for (let page = 0; page < pages; page++) {
      const damaged = join(dir, `page-${page}.db`);
      await copyFile(path, damaged);
      await withOpen(damaged, 'r+', (file) => file.write(Buffer.alloc(4096, 0xa5), 0, 4096, page * 4096));
      const failure = await useAll(damaged).catch((error: unknown) => error);
      if (failure === undefined) continue;
      expect(failure).toMatchObject({ code: 'HistoryUnusable', facts: { path: damaged } });
      refused++;
    }
    // A page that no query reads (an index, most of all) may go unnoticed; those with the rows don't.
    expect(refused).toBeGreaterThan(pages / 2);
  }));

async function filledHistory(path: string): Promise<void> {
  const history = await SqliteHistory.open(path);
  for (let number = 0; number < 200; number++) {
    await history.startJob(jobStart(`job-${number}`));
    await history.recordPhase(`job-${number}`, phase('preflight', { facts: { text: 'x'.repeat(200) } }));
  }
  history.close();
  // All of it into the file itself, and nothing left beside it.
  const database = new DatabaseSync(path);
  database.exec('pragma wal_checkpoint(truncate)');
  database.close();
}

/** Asks a history all that it can be asked. */
async function useAll(path: string): Promise<void> {
  const history = await SqliteHistory.open(path);
  try {
    for (const job of await history.jobs({})) await history.job(job.job);
    await history.snapshots({});
    await history.events({ limit: 10 });
    await history.verifications({});
    await history.drills();
    await history.lastSweep('local', 'debian');
    await history.lastSlots();
    await history.openPauses();
    await history.jobTotals();
    await history.pauseTotals();
    await history.recentBackups(['debian'], 30);
  } finally {
    history.close();
  }
}
