import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { describe, expect, it, vi } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { callsUnderFault } from '../support/each-call.js';
import { roundsOr } from '../support/rounds.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { integrityOf } from './records-of-tests.js';

const child = (action: 'open' | 'write', path: string, name: string, count: number) =>
  startScript(new URL('./history-child.ts', import.meta.url), [action, path, name, String(count)]);

/** In a place that is gone afterwards. */
const withPath = (use: (path: string) => Promise<void>) => withTempDir((dir) => use(join(dir, 'history.db')));

/** Has one child of each name write so many jobs, all at the same time. */
async function writeAtOnce(action: 'open' | 'write', path: string, names: string[], count: number) {
  const children = names.map((name) => child(action, path, name, count));
  for (const each of children) await each.waitForLine('ready');
  for (const each of children) each.go();
  for (const each of children) expect(await each.exited).toMatchObject({ exitCode: 0 });
}

describe('a history that several processes work on', () => {
  it('is created and migrated once when several of them open it at the same time', () =>
    withPath(async (path) => {
      await writeAtOnce('open', path, ['a', 'b', 'c', 'd', 'e'], 1);
      const history = await SqliteHistory.open(path);
      const jobs = (await history.jobs({})).map((job) => job.job).sort();
      history.close();
      expect(jobs).toEqual(['a-0', 'b-0', 'c-0', 'd-0', 'e-0']);
    }));

  it('loses no row of any of them', () =>
    withPath(async (path) => {
      await writeAtOnce('write', path, ['a', 'b', 'c'], 60);
      const history = await SqliteHistory.open(path);
      const found = await history.jobs({});
      expect(found).toHaveLength(3 * 60);
      for (const { job } of found) {
        const phases = [{ phase: 'preflight' }, { phase: 'stop' }];
        expect(await history.job(job)).toMatchObject({ status: 'success', phases });
      }
      history.close();
    }));

  it(
    'has every acknowledged row after kill -9 of the writer at any moment, again and again',
    () =>
      withPath(async (path) => {
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
      }),
    300_000,
  );

  it('has every write on the disk before it acknowledges it', () =>
    withPath(async (path) => {
      const writer = child('write', path, 'a', 10);
      await writer.waitForLine('ready');
      const { result, count } = await callsUnderFault(writer.pid, 'fsync,fdatasync', () => {
        writer.go();
        return writer.exited;
      });
      expect(result).toMatchObject({ exitCode: 0 });
      // Four transactions a job; synchronous=NORMAL would have none but the checkpoint's.
      expect(count).toBeGreaterThanOrEqual(40);
    }));
});

describe('a history that another process has locked', () => {
  it('is waited for without blocking this process, and then written to', () =>
    withPath(async (path) => {
      const { history, other } = await lockedHistory(path);
      const acknowledge = vi.fn();
      const write = history.recordSlot('debian', 'x').then(acknowledge);
      let turns = 0;
      await waitFor('the event loop to go on turning', () => ++turns > 30, { everyMs: 5 });
      expect(acknowledge).not.toHaveBeenCalled();
      other.exec('rollback');
      await write;
      expect(await history.lastSlot('debian')).toBe('x');
      history.close();
      other.close();
    }));

  it('is given up after the limit with its own error, and is as it was', () =>
    withPath(async (path) => {
      const { history, other } = await lockedHistory(path, { lockWaitMs: 100 });
      await expect(history.recordSlot('debian', 'x')).rejects.toMatchObject({ code: 'HistoryLocked' });
      // Readers don't wait for the writer.
      expect(await history.lastSlot('debian')).toBeNull();
      other.exec('rollback');
      await history.recordSlot('debian', 'y');
      expect(await history.lastSlot('debian')).toBe('y');
      history.close();
      other.close();
    }));
});

async function lockedHistory(path: string, options = {}) {
  const history = await SqliteHistory.open(path, options);
  const other = new DatabaseSync(path);
  other.exec('begin immediate');
  return { history, other };
}
