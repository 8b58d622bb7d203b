import { copyFile, open, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { describe, expect, it } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { startScript } from '../support/script-child.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { withTempDir } from '../support/temp-dir.js';
import { jobStart, phase } from './records-of-tests.js';

const noLoop = whyNoLoopMount('ext4');
if (noLoop !== undefined) console.warn(`SKIPPED: a history on a full or read-only disk: ${noLoop}`);

describe.skipIf(noLoop !== undefined)('a history on a disk of its own', () => {
  it('says that the disk is full, keeps what it had, and goes on when there is room again', async () => {
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (mountPoint) => {
      const path = join(mountPoint, 'history.db');
      const history = await SqliteHistory.open(path);
      await history.startJob(jobStart('a'));
      const filler = join(mountPoint, 'filler');
      await fill(filler);
      const failure = await writeUntilItFails(history);
      expect(failure).toMatchObject({
        code: 'HistoryUnusable',
        facts: { path, problem: expect.stringContaining('no room') },
      });
      const before = (await history.job('a'))?.phases.length ?? -1;
      await rm(filler);
      await history.recordPhase('a', phase('last'));
      const phases = (await history.job('a'))?.phases ?? [];
      expect(phases.length).toBe(before + 1);
      expect(phases.at(-1)?.phase).toBe('last');
      history.close();
    });
  });

  it('says that it is read-only', async () => {
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (mountPoint) => {
      const path = join(mountPoint, 'history.db');
      // In a process that ends, since a file that is still open keeps the filesystem from becoming read-only.
      const writer = startScript(new URL('./history-child.ts', import.meta.url), ['write', path, 'a', '1']);
      await writer.waitForLine('ready');
      writer.go();
      expect(await writer.exited).toMatchObject({ exitCode: 0 });
      await runTool('mount', ['-o', 'remount,ro', mountPoint]);
      expect(await useAll(path)).toMatchObject({
        code: 'HistoryUnusable',
        facts: { path, problem: expect.stringMatching(/read-?only/) },
      });
    });
  });
});

describe('a history whose file was damaged', () => {
  it('is refused at the start or at the first read, wherever its pages were overwritten', async () => {
    await withTempDir(async (dir) => {
      const path = join(dir, 'history.db');
      await filledHistory(path);
      const pages = (await stat(path)).size / 4096;
      let refused = 0;
      for (let page = 0; page < pages; page++) {
        const damaged = join(dir, `page-${page}.db`);
        await copyFile(path, damaged);
        await overwritePage(damaged, page);
        const failure = await useAll(damaged);
        if (failure === undefined) continue;
        expect(failure).toMatchObject({ code: 'HistoryUnusable', facts: { path: damaged } });
        refused++;
      }
      // A page that no query reads (an index, most of all) may go unnoticed; those with the rows don't.
      expect(refused).toBeGreaterThan(pages / 2);
    });
  });

  it('is refused when it was cut short', async () => {
    await withTempDir(async (dir) => {
      const path = join(dir, 'history.db');
      await filledHistory(path);
      await truncate(path, Math.floor((await stat(path)).size / 2) + 100);
      expect(await useAll(path)).toMatchObject({ code: 'HistoryUnusable', facts: { path } });
    });
  });
});

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

async function useAll(path: string): Promise<unknown> {
  try {
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
      return undefined;
    } finally {
      history.close();
    }
  } catch (error) {
    return error;
  }
}

async function overwritePage(path: string, page: number): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(4096, 0xa5), 0, 4096, page * 4096);
  await file.close();
}

/** Leaves a few KiB, so that it is the history's own growth that meets the end. */
async function fill(path: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (;;) await file.write(Buffer.alloc(4096, 1));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  } finally {
    await file.close();
  }
}

async function writeUntilItFails(history: SqliteHistory): Promise<unknown> {
  try {
    for (;;) await history.recordPhase('a', phase('filling', { facts: { text: 'x'.repeat(2000) } }));
  } catch (error) {
    return error;
  }
}
