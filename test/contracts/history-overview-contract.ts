import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { jobEnd, jobStart, pauseIntent, snapshot } from '../history/records-of-tests.js';
import type { History } from './history-contract.js';

/** What a history promises to those who look at all guests at once. */
export function historyOverviewContract(open: () => Promise<History>): void {
  let history: History;
  beforeEach(async () => {
    history = await open();
  });
  afterEach(() => history.close());

  const at = (minute: number) => `2026-11-21T03:${String(minute).padStart(2, '0')}:00.000Z`;
  const run = async (job: string, guest: string | null, minute: number, more = {}, end = {}) => {
    await history.startJob(jobStart(job, { guest, startedAt: at(minute), ...more }));
    await history.finishJob(job, jobEnd(end));
  };
  const pause = async (guest: string, minute: number, pausedMs: number | null) => {
    const job = `${guest}${minute}`;
    await run(job, guest, minute);
    await history.intendPause({ ...pauseIntent(`${job}.1`, job), guest, intendedAt: at(minute) });
    await history.endPause(`${job}.1`, { pausedMs, endedBy: 'request', endedAt: at(minute) });
  };

  describe('the newest of each guest', () => {
    it('are the newest backups, oldest first, whatever else a guest has and however few', async () => {
      for (let minute = 0; minute < 5; minute++) await run(`a${minute}`, 'a', minute);
      await run('a9', 'a', 9, { kind: 'verify' });
      await run('b1', 'b', 1, {}, { status: 'failed' });
      await history.startJob(jobStart('b2', { guest: 'b', startedAt: at(2) }));
      const found = await history.recentBackups(['b', 'none', 'a'], 3);
      expect(found.map(({ job, status }) => `${job} ${status}`)).toEqual([
        ...['a2 success', 'a3 success', 'a4 success', 'b1 failed', 'b2 running'],
      ]);
      expect(await history.recentBackups([], 3)).toEqual([]);
    });

    it('are the snapshots that are there, in each store that has them', async () => {
      const taken = (name: string, minute: number, store = 'local') =>
        history.recordSnapshot(snapshot(name, { guest: name.slice(0, 1), takenAt: at(minute), store }));
      await taken('a@1', 1);
      await taken('a@2', 2, 'one');
      await taken('a@2', 2, 'two');
      await taken('a@3', 3);
      await history.forgetSnapshot('local', 'a@3', { removedAt: at(4), reason: 'expired' });
      await taken('c@1', 1);
      const found = (await history.newestSnapshots(['a', 'b'])).map((one) => `${one.snapshot} ${one.store}`);
      expect(found.sort()).toEqual(['a@2 one', 'a@2 two']);
      const sizes = await history.sizesOf('a', 3);
      expect(sizes.map(({ takenAt }) => takenAt)).toEqual([at(2), at(2), at(3)]);
    });

    it('are the pauses that somebody measured', async () => {
      await pause('a', 1, 7);
      await pause('a', 2, 2.5);
      await pause('a', 3, null);
      expect(await history.lastPauses(['a', 'b'])).toEqual([
        { guest: 'a', pausedMs: 2.5, budgetMs: 5000, intendedAt: at(2) },
      ]);
      expect((await history.pausesOf('a', 9)).map(({ pausedMs }) => pausedMs)).toEqual([7, 2.5]);
      expect((await history.pausesOf('a', 1)).map(({ pausedMs }) => pausedMs)).toEqual([2.5]);
    });

    it('are the last proofs that a snapshot is good, and not those that failed', async () => {
      await run('v1', 'a', 1, { kind: 'verify' }, { finishedAt: at(5) });
      await run('v2', 'a', 2, { kind: 'verify' }, { status: 'failed' });
      await run('d1', 'a', 3, { kind: 'drill' }, { finishedAt: at(6), status: 'warning' });
      expect(await history.lastProven(['a', 'b'], 'verify')).toEqual([{ guest: 'a', at: at(5) }]);
      expect(await history.lastProven(['a', 'b'], 'drill')).toEqual([{ guest: 'a', at: at(6) }]);
    });

    it('are the jobs passed over with an offset, and how long some took', async () => {
      for (let minute = 0; minute < 4; minute++)
        await run(`a${minute}`, 'a', minute, {}, { finishedAt: at(9) });
      await history.startJob(jobStart('a9', { guest: 'a', startedAt: at(9) }));
      const page = await history.jobs({ guest: 'a', limit: 2, offset: 2 });
      expect(page.map(({ job }) => job)).toEqual(['a2', 'a1']);
      expect(await history.durations(['a1', 'a9', 'none'])).toEqual([
        { job: 'a1', startedAt: at(1), finishedAt: at(9) },
      ]);
      expect(await history.durations([])).toEqual([]);
    });
  });

  describe('totals', () => {
    it('count every job once, at its end, by guest, kind and status', async () => {
      await run('a1', 'a', 1);
      await run('a2', 'a', 2);
      await run('a3', 'a', 3, {}, { status: 'failed' });
      await run('r1', null, 4, { kind: 'recover' });
      await history.startJob(jobStart('a4', { guest: 'a' }));
      await expect(history.finishJob('a1', jobEnd())).rejects.toMatchObject({ code: 'JobEnded' });
      const totals = (await history.jobTotals()).map(
        (one) => `${one.guest} ${one.kind} ${one.status} ${one.jobs}`,
      );
      expect(totals.sort()).toEqual(['a backup failed 1', 'a backup success 2', 'null recover success 1']);
    });

    it('count every measured pause once, in its class, also when somebody closes it again', async () => {
      for (const [minute, pausedMs] of [1, 1.001, 2.5, 70_000, 70_001, null].entries()) {
        await pause('a', minute, pausedMs);
        await history.endPause(`a${minute}.1`, { pausedMs: 9, endedBy: 'recover', endedAt: at(59) });
      }
      const totals = (await history.pauseTotals()).sort((a, b) => a.bucket - b.bucket);
      expect(totals).toEqual([
        { guest: 'a', bucket: 0, pauses: 1, totalMs: 1 },
        { guest: 'a', bucket: 1, pauses: 2, totalMs: 3.501 },
        { guest: 'a', bucket: 15, pauses: 2, totalMs: 140_001 },
      ]);
    });
  });
}
