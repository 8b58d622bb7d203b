import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { describe, expect, it } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { callsUnderFault } from '../support/each-call.js';
import { roundsOr } from '../support/rounds.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

const child = (action: string, path: string, name: string, count: number) =>
  startScript(new URL('./history-child.ts', import.meta.url), [action, path, name, String(count)]);

describe('a history that several processes work on', () => {
  it('is created and migrated once when several of them open it at the same time', async () => {
    await withTempDir(async (dir) => {
      const path = join(dir, 'history.db');
      const names = ['a', 'b', 'c', 'd', 'e'];
      const children = names.map((name) => child('open', path, name, 1));
      for (const each of children) await each.waitForLine('ready');
      for (const each of children) each.go();
      for (const each of children) expect(await each.exited).toMatchObject({ exitCode: 0 });
      const history = await SqliteHistory.open(path);
      const jobs = (await history.jobs({})).map((job) => job.job).sort();
      history.close();
      expect(jobs).toEqual(names.map((name) => `${name}-0`));
    });
  });

  it('loses no row of any of them', async () => {
    await withTempDir(async (dir) => {
      const path = join(dir, 'history.db');
      const count = 60;
      const children = ['a', 'b', 'c'].map((name) => child('write', path, name, count));
      for (const each of children) await each.waitForLine('ready');
      for (const each of children) each.go();
      for (const each of children) expect(await each.exited).toMatchObject({ exitCode: 0 });
      const history = await SqliteHistory.open(path);
      const found = await history.jobs({});
      expect(found.length).toBe(3 * count);
      for (const job of found) {
        expect(job.status).toBe('success');
        expect((await history.job(job.job))?.phases.map((phase) => phase.phase)).toEqual([
          'preflight',
          'stop',
        ]);
      }
      history.close();
    });
  });

  it('has every acknowledged row after kill -9 of the writer at any moment, again and again', async () => {
    await withTempDir(async (dir) => {
      const path = join(dir, 'history.db');
      const acknowledged: string[] = [];
      const rounds = roundsOr(6);
      for (let round = 0; round < rounds; round++) {
        const writer = child('write', path, `r${round}`, 100_000);
        await writer.waitForLine('ready');
        writer.go();
        await waitFor('some acknowledged rows', () => writer.lines.length > 1 + round * 3, { everyMs: 1 });
        writer.kill('SIGKILL');
        expect((await writer.exited).signal).toBe('SIGKILL');
        acknowledged.push(...writer.lines.filter((line) => line !== 'ready'));
      }
      const history = await SqliteHistory.open(path);
      const finished = new Set((await history.jobs({ status: 'success' })).map((job) => job.job));
      expect(acknowledged.filter((job) => !finished.has(job))).toEqual([]);
      // At most the one job of each round that the kill fell into.
      expect((await history.runningJobs()).length).toBeLessThanOrEqual(rounds);
      history.close();
      expect(integrityOf(path)).toBe('ok');
    });
  }, 300_000);

  it('has every write on the disk before it acknowledges it', async () => {
    await withTempDir(async (dir) => {
      const writer = child('write', join(dir, 'history.db'), 'a', 10);
      await writer.waitForLine('ready');
      const { result, count } = await callsUnderFault(writer.pid, 'fsync,fdatasync', () => {
        writer.go();
        return writer.exited;
      });
      expect(result).toMatchObject({ exitCode: 0 });
      // Four transactions a job; synchronous=NORMAL would have none but the checkpoint's.
      expect(count).toBeGreaterThanOrEqual(40);
    });
  });
});

describe('a history that another process has locked', () => {
  it('is waited for without blocking this process, and then written to', async () => {
    await withTempDir(async (dir) => {
      const { history, other } = await lockedHistory(dir);
      let written = false;
      const write = history.recordSlot('debian', 'x').then(() => {
        written = true;
      });
      let turns = 0;
      await waitFor('the event loop to go on turning', () => ++turns > 30, { everyMs: 5 });
      expect(written).toBe(false);
      other.exec('rollback');
      await write;
      expect(await history.lastSlot('debian')).toBe('x');
      history.close();
      other.close();
    });
  });

  it('is given up after the limit with its own error, and is as it was', async () => {
    await withTempDir(async (dir) => {
      const { history, other } = await lockedHistory(dir, 100);
      await expect(history.recordSlot('debian', 'x')).rejects.toMatchObject({ code: 'HistoryLocked' });
      // Readers don't wait for the writer.
      expect(await history.lastSlot('debian')).toBeNull();
      other.exec('rollback');
      await history.recordSlot('debian', 'y');
      expect(await history.lastSlot('debian')).toBe('y');
      history.close();
      other.close();
    });
  });
});

async function lockedHistory(dir: string, lockWaitMs?: number) {
  const path = join(dir, 'history.db');
  const history = await SqliteHistory.open(path, lockWaitMs === undefined ? {} : { lockWaitMs });
  const other = new DatabaseSync(path);
  other.exec('begin immediate');
  return { history, other };
}

function integrityOf(path: string): unknown {
  const database = new DatabaseSync(path);
  const row = database.prepare('pragma integrity_check').get() as { integrity_check: unknown };
  database.close();
  return row.integrity_check;
}
