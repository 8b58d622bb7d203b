import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SqliteHistory } from '../../src/history/sqlite-history.js';
import { jobEnd, jobStart, pauseIntent, phase, snapshot, verification } from '../history/records-of-tests.js';

/** What any class behind the history's port promises. `open` gives an empty history of its own to each test. */
export type History = Omit<SqliteHistory, never>;

export interface OpenedHistory {
  history: History;
  remove(): Promise<void>;
}

export function historyContract(open: () => Promise<OpenedHistory>): void {
  let opened: OpenedHistory;
  let history: History;

  beforeEach(async () => {
    opened = await open();
    history = opened.history;
  });

  afterEach(async () => {
    history.close();
    await opened.remove();
  });

  describe('jobs', () => {
    it('come back as they were recorded, with phases in order and pauses', async () => {
      await history.startJob(jobStart('a'));
      await history.recordPhase('a', phase('preflight', { facts: { cpus: 1 } }));
      await history.recordPhase('a', phase('stop', { outcome: 'failed' }));
      await history.recordPhase('a', phase('stop', { outcome: 'undone' }));
      await history.intendPause(pauseIntent('a.1', 'a'));
      await history.endPause('a.1', {
        pausedMs: 0.125,
        endedBy: 'request',
        endedAt: '2026-11-21T03:15:01.001Z',
      });
      await history.finishJob('a', jobEnd({ status: 'warning', warnings: ['one', 'two'] }));
      expect(await history.job('a')).toEqual({
        ...jobStart('a'),
        ...jobEnd({ status: 'warning', warnings: ['one', 'two'] }),
        phases: [
          phase('preflight', { facts: { cpus: 1 } }),
          phase('stop', { outcome: 'failed' }),
          phase('stop', { outcome: 'undone' }),
        ],
        pauses: [
          {
            ...pauseIntent('a.1', 'a'),
            pausedMs: 0.125,
            endedBy: 'request',
            endedAt: '2026-11-21T03:15:01.001Z',
          },
        ],
        log: [],
      });
      expect(await history.job('b')).toBeUndefined();
    });

    it('keep their log in the order in which it was told, though a clock was set back meanwhile', async () => {
      const at = '2026-11-21T03:15:00.000Z';
      const log = [
        { at, level: 'info', text: 'began' },
        { at: '2026-11-21T03:14:00.000Z', level: 'warn', text: "it's \u{1f4be}; --" },
        { at, level: 'error', text: '' },
        ...Array.from({ length: 497 }, (_, number) => ({
          at,
          level: 'info' as const,
          text: `line ${number}`,
        })),
      ] as const;
      for (const job of ['a', 'b']) await history.startJob(jobStart(job));
      await history.finishJob('a', jobEnd(), log);
      await history.finishJob('b', jobEnd(), log.slice(0, 1));
      expect((await history.job('a'))?.log).toEqual(log);
      expect((await history.job('b'))?.log).toEqual(log.slice(0, 1));
    });

    it('that have ended take no second log, and one that can not be kept leaves its job unended', async () => {
      const line = { at: '2026-11-21T03:15:00.000Z', level: 'info', text: 'began' } as const;
      await history.startJob(jobStart('a'));
      // As a row that the schema refuses stands for whatever fails between the two writes.
      const unfit = { ...line, text: null as unknown as string };
      await expect(history.finishJob('a', jobEnd(), [line, unfit])).rejects.toMatchObject({
        code: 'Internal',
      });
      expect(await history.job('a')).toMatchObject({ status: 'running', log: [] });
      await history.finishJob('a', jobEnd(), [line]);
      await expect(history.finishJob('a', jobEnd(), [line, line])).rejects.toMatchObject({
        code: 'JobEnded',
      });
      expect((await history.job('a'))?.log).toEqual([line]);
    });

    it('are listed newest first, by guest, kind and status, up to a limit', async () => {
      await history.startJob(jobStart('old', { startedAt: '2026-11-20T00:00:00.000Z' }));
      await history.startJob(jobStart('new', { startedAt: '2026-11-22T00:00:00.000Z', guest: 'other' }));
      await history.startJob(jobStart('mid', { startedAt: '2026-11-21T00:00:00.000Z', kind: 'prune' }));
      await history.finishJob('old', jobEnd({ status: 'failed' }));
      const names = async (filter: Parameters<History['jobs']>[0]) =>
        (await history.jobs(filter)).map((job) => job.job);
      expect(await names({})).toEqual(['new', 'mid', 'old']);
      expect(await names({ limit: 2 })).toEqual(['new', 'mid']);
      expect(await names({ guest: 'debian' })).toEqual(['mid', 'old']);
      expect(await names({ kind: 'backup', status: 'failed' })).toEqual(['old']);
      expect((await history.runningJobs()).map((job) => job.job)).toEqual(['new', 'mid']);
    });

    it('that have ended are not rewritten by whoever ends them later', async () => {
      await history.startJob(jobStart('a'));
      await history.finishJob('a', jobEnd({ status: 'interrupted' }));
      await expect(history.finishJob('a', jobEnd())).rejects.toMatchObject({
        code: 'JobEnded',
        facts: { job: 'a', status: 'interrupted' },
      });
      expect((await history.job('a'))?.status).toBe('interrupted');
    });

    it('that nobody started are named in the error, and one name is not given twice', async () => {
      await expect(history.recordPhase('x', phase('stop'))).rejects.toMatchObject({ code: 'NoSuchJob' });
      await expect(history.finishJob('x', jobEnd())).rejects.toMatchObject({ code: 'NoSuchJob' });
      await expect(history.intendPause(pauseIntent('x.1', 'x'))).rejects.toMatchObject({ code: 'NoSuchJob' });
      await history.startJob(jobStart('a'));
      await expect(history.startJob(jobStart('a', { guest: 'other' }))).rejects.toMatchObject({
        code: 'Internal',
      });
      expect((await history.job('a'))?.guest).toBe('debian');
    });

    it('keep quotes, control characters, NULs and broken UTF-16 of a hostile guest as they came', async () => {
      const nasty = `'; DROP TABLE jobs; -- "\u0000\u0001\u001b[31m\r\n\t\u2028 \ud83d \u{1f4be} \\`;
      await history.startJob(jobStart('a'));
      await history.recordPhase('a', phase('stop', { facts: { [nasty]: nasty } }));
      const error = { phase: 'stop', code: 'CommandRefused', message: nasty };
      await history.finishJob(
        'a',
        jobEnd({ status: 'failed', error, warnings: [nasty], summary: { text: nasty } }),
      );
      const job = await history.job('a');
      expect(job?.error).toEqual(error);
      expect(job?.warnings).toEqual([nasty]);
      expect(job?.summary).toEqual({ text: nasty });
      expect(job?.phases[0]?.facts).toEqual({ [nasty]: nasty });
    });

    it('with a NUL in the name are refused, since SQLite would hand the name back cut short', async () => {
      await expect(history.startJob(jobStart('a\0b'))).rejects.toMatchObject({ code: 'Internal' });
      expect(await history.jobs({})).toEqual([]);
    });
  });

  describe('pauses', () => {
    it('stay open until somebody ends them, and the first end stands', async () => {
      await history.startJob(jobStart('a'));
      await history.intendPause(pauseIntent('a.1', 'a'));
      await history.intendPause(pauseIntent('a.2', 'a'));
      const first = { pausedMs: 12.5, endedBy: 'deadline', endedAt: '2026-11-21T03:15:06.000Z' } as const;
      await history.endPause('a.1', first);
      await history.endPause('a.1', {
        pausedMs: null,
        endedBy: 'recover',
        endedAt: '2026-11-21T04:00:00.000Z',
      });
      expect((await history.openPauses()).map((pause) => pause.pause)).toEqual(['a.2']);
      expect((await history.job('a'))?.pauses[0]).toEqual({ ...pauseIntent('a.1', 'a'), ...first });
    });

    it('that were never intended can not be ended', async () => {
      const end = { pausedMs: 1, endedBy: 'request', endedAt: '2026-11-21T03:15:06.000Z' } as const;
      await expect(history.endPause('x.1', end)).rejects.toMatchObject({ code: 'Internal' });
    });
  });

  describe('snapshots', () => {
    it('are listed newest first, and recorded again when they change', async () => {
      const older = snapshot('debian@20261120T000000Z', { takenAt: '2026-11-20T00:00:00.000Z' });
      const newer = snapshot('debian@20261121T000000Z', { takenAt: '2026-11-21T00:00:00.000Z', job: null });
      const other = snapshot('other@20261120T120000Z', {
        takenAt: '2026-11-20T12:00:00.000Z',
        guest: 'other',
      });
      for (const record of [older, newer, other]) await history.recordSnapshot(record);
      expect(await history.snapshots({})).toEqual([newer, other, older]);
      const pinned = { ...older, pinned: true, manifestSha256: 'b'.repeat(64) };
      await history.recordSnapshot(pinned);
      expect(await history.snapshots({ guest: 'debian' })).toEqual([newer, pinned]);
      expect(await history.snapshots({ store: 'elsewhere' })).toEqual([]);
    });

    it('that were removed leave every list, and come back when they are found again', async () => {
      const name = 'debian@20261121T000000Z';
      await history.recordSnapshot(snapshot(name));
      await history.forgetSnapshot('local', name, {
        removedAt: '2026-11-28T00:00:00.000Z',
        reason: 'expired',
      });
      await history.forgetSnapshot('local', name, { removedAt: '2026-11-29T00:00:00.000Z', reason: 'again' });
      expect(await history.snapshots({})).toEqual([]);
      await history.recordSnapshot(snapshot(name));
      expect(await history.snapshots({})).toEqual([snapshot(name)]);
    });
  });

  it('keeps the last drill of each snapshot, newest first', async () => {
    const drill = (snapshotName: string, drilledAt: string, problem: string | null) => ({
      ...{ snapshot: snapshotName, guest: 'debian', job: `job-${drilledAt}`, drilledAt },
      ...{ passed: problem === null, problem },
    });
    const [first, second] = ['debian@20261121T031500Z', 'debian@20261122T031500Z'] as const;
    await history.recordDrill(drill(first, '2026-11-22T00:00:00.000Z', null));
    await history.recordDrill(drill(second, '2026-11-23T00:00:00.000Z', null));
    await history.recordDrill(drill(first, '2026-11-24T00:00:00.000Z', 'its init ended'));
    expect(await history.drills()).toEqual([
      drill(first, '2026-11-24T00:00:00.000Z', 'its init ended'),
      drill(second, '2026-11-23T00:00:00.000Z', null),
    ]);
  });

  describe('verifications', () => {
    it('come back as they were recorded, one of each snapshot and store, longest ago first', async () => {
      const [a, b] = ['debian@20261120T000000Z', 'debian@20261121T000000Z'];
      const bad = [
        ...[
          { disk: 'ubd0', type: 'ext4', verdict: 'bad', reason: 'why', output: '\u001b[31m \u0000' } as const,
        ],
        ...[{ disk: 'ubd1', type: 'swap', verdict: 'none', reason: null, output: null } as const],
      ];
      const first = verification(a, { verifiedAt: '2026-11-22T00:00:00.000Z' });
      const elsewhere = verification(a, {
        verifiedAt: '2026-11-23T00:00:00.000Z',
        store: 'offsite',
        job: null,
      });
      const worse = { result: 'badFilesystem', problem: 'ubd0: why', filesystems: bad } as const;
      const second = verification(b, { verifiedAt: '2026-11-24T00:00:00.000Z', ...worse });
      for (const record of [second, elsewhere, first]) await history.recordVerification(record);
      expect(await history.verifications({})).toEqual([first, elsewhere, second]);
      expect(await history.verifications({ store: 'local' })).toEqual([first, second]);
      expect(await history.verifications({ snapshot: a })).toEqual([first, elsewhere]);
      const again = verification(a, {
        verifiedAt: '2026-11-25T00:00:00.000Z',
        result: 'damaged',
        problem: 'x',
      });
      await history.recordVerification(again);
      expect(await history.verifications({ store: 'local' })).toEqual([second, again]);
    });

    it('that could not be carried out take the place of none that found a snapshot bad', async () => {
      const name = 'debian@20261120T000000Z';
      const notRead = verification(name, { result: 'notRead', problem: 'its store was away' });
      for (const found of ['ok', 'damaged', 'badFilesystem'] as const) {
        const record = verification(name, { result: found, problem: found === 'ok' ? null : 'x' });
        await history.recordVerification(record);
        await history.recordVerification(notRead);
        expect(await history.verifications({})).toEqual([found === 'ok' ? notRead : record]);
      }
    });
  });

  describe('slots and stores', () => {
    it('remember the last word', async () => {
      expect(await history.lastSlot('debian')).toBeNull();
      await history.recordSlot('debian', '2026-11-21T02:15:00.000Z');
      await history.recordSlot('debian', '2026-11-22T02:15:00.000Z');
      expect(await history.lastSlot('debian')).toBe('2026-11-22T02:15:00.000Z');
      expect(await history.storeId('local')).toBeNull();
      await history.rememberStore('local', 'one');
      await history.rememberStore('local', 'two');
      expect(await history.storeId('local')).toBe('two');
    });
  });

  describe('sweeps', () => {
    it('remember the last one of each guest in each store, and its nulls', async () => {
      expect(await history.lastSweep('local', 'debian')).toBeNull();
      const sweep = {
        ...{ store: 'local', guest: 'debian', sweptAt: '2026-11-21T03:15:00.000Z' },
        ...{ newestTakenAt: null, aheadUntil: null, bootId: 'a boot', uptimeMs: 2 ** 40 },
      };
      const later = {
        ...{ ...sweep, sweptAt: '2026-11-22T03:15:00.000Z', newestTakenAt: '2026-11-22T03:14:00.000Z' },
        ...{ aheadUntil: '2100-01-01T00:00:00.000Z', bootId: 'another', uptimeMs: 0 },
      };
      await history.recordSweep(sweep);
      expect(await history.lastSweep('local', 'debian')).toEqual(sweep);
      await history.recordSweep(later);
      await history.recordSweep({ ...sweep, guest: 'other' });
      await history.recordSweep({ ...sweep, store: 'offsite' });
      expect(await history.lastSweep('local', 'debian')).toEqual(later);
    });
  });

  describe('events', () => {
    const event = (guest: string, type: 'message' | 'panic', text: string) => ({
      ...{ at: '2026-11-21T03:15:00.000Z', guest, type, text, missed: 0 },
    });

    it('come back in their order, by guest, by type, and those after one', async () => {
      await history.recordEvent({ ...event('a', 'message', 'one'), missed: 7 });
      await history.recordEvent(event('b', 'panic', 'two'));
      await history.recordEvent(event('a', 'panic', 'three'));
      const texts = async (filter: object) =>
        (await history.events({ limit: 10, ...filter })).map(({ text }) => text);
      expect(await texts({})).toEqual(['one', 'two', 'three']);
      expect(await texts({ limit: 2 })).toEqual(['two', 'three']);
      expect(await texts({ guest: 'a' })).toEqual(['one', 'three']);
      expect(await texts({ guest: 'a', type: 'panic' })).toEqual(['three']);
      const [first] = await history.events({ limit: 10 });
      expect(first).toMatchObject({ guest: 'a', type: 'message', text: 'one', missed: 7 });
      expect(await texts({ after: first?.number })).toEqual(['two', 'three']);
    });

    it('of a guest that talks without an end push out neither its panic nor what others said', async () => {
      await history.recordEvent(event('a', 'panic', 'the panic'));
      await history.recordEvent(event('b', 'message', 'of another'));
      for (let count = 0; count < 1010; count++) await history.recordEvent(event('a', 'message', `${count}`));
      const events = await history.events({ limit: 5000 });
      expect(events).toHaveLength(1002);
      expect(events.slice(0, 3).map(({ text }) => text)).toEqual(['the panic', 'of another', '10']);
    });
  });
}
