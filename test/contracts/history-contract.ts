import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JobLogLine, VerificationRecord } from '../../src/history/records.js';
import type { SqliteHistory } from '../../src/history/sqlite-history.js';
import { jobEnd, jobStart, pauseIntent, phase, snapshot, verification } from '../history/records-of-tests.js';

/** What any class behind the history's port promises. `open` gives an empty history of its own to each test. */
export type History = Omit<SqliteHistory, never>;

const day = (number: number) => `2026-11-${number}T00:00:00.000Z`;
const at = (time: string) => `2026-11-21T${time}Z`;

export function historyContract(open: () => Promise<History>): void {
  let history: History;
  beforeEach(async () => {
    history = await open();
  });
  afterEach(() => history.close());

  describe('jobs', () => {
    it('come back as they were recorded, with phases in order and pauses', async () => {
      const phases = [
        phase('preflight', { facts: { cpus: 1 } }),
        phase('stop', { outcome: 'failed' }),
        phase('stop', { outcome: 'undone' }),
      ];
      const end = jobEnd({ status: 'warning', warnings: ['one', 'two'] });
      const pauseEnd = { pausedMs: 0.125, endedBy: 'request', endedAt: at('03:15:01.001') } as const;
      await history.startJob(jobStart('a'));
      for (const each of phases) await history.recordPhase('a', each);
      await history.intendPause(pauseIntent('a.1', 'a'));
      await history.endPause('a.1', pauseEnd);
      await history.finishJob('a', end);
      const pauses = [{ ...pauseIntent('a.1', 'a'), ...pauseEnd }];
      expect(await history.job('a')).toEqual({ ...jobStart('a'), ...end, phases, pauses, log: [] });
      expect(await history.job('b')).toBeUndefined();
    });

    it('keep their log in the order in which it was told, though a clock was set back meanwhile', async () => {
      const log: JobLogLine[] = [
        { at: at('03:15:00.000'), level: 'info', text: 'began' },
        { at: at('03:14:00.000'), level: 'warn', text: "it's \u{1f4be}; --" },
        { at: at('03:15:00.000'), level: 'error', text: '' },
      ];
      for (let line = 0; line < 497; line++) log.push({ at: day(21), level: 'info', text: `${line}` });
      for (const job of ['a', 'b']) await history.startJob(jobStart(job));
      await history.finishJob('a', jobEnd(), log);
      await history.finishJob('b', jobEnd(), log.slice(0, 1));
      expect((await history.job('a'))?.log).toEqual(log);
      expect((await history.job('b'))?.log).toEqual(log.slice(0, 1));
    });

    it('that have ended take no second end and no second log, and one that can not be kept leaves its job unended', async () => {
      const line: JobLogLine = { at: at('03:15:00.000'), level: 'info', text: 'began' };
      // As a row that the schema refuses stands for whatever fails between the two writes.
      const unfit = { ...line, text: null as unknown as string };
      await history.startJob(jobStart('a'));
      const failing = history.finishJob('a', jobEnd(), [line, unfit]);
      await expect(failing).rejects.toMatchObject({ code: 'Internal' });
      expect(await history.job('a')).toMatchObject({ status: 'running', log: [] });
      await history.finishJob('a', jobEnd({ status: 'interrupted' }), [line]);
      const ended = { code: 'JobEnded', facts: { job: 'a', status: 'interrupted' } };
      await expect(history.finishJob('a', jobEnd(), [line, line])).rejects.toMatchObject(ended);
      expect(await history.job('a')).toMatchObject({ status: 'interrupted', log: [line] });
    });

    it('are listed newest first, by guest, kind and status, up to a limit', async () => {
      await history.startJob(jobStart('old', { startedAt: day(20) }));
      await history.startJob(jobStart('new', { startedAt: day(22), guest: 'other' }));
      await history.startJob(jobStart('mid', { startedAt: day(21), kind: 'prune' }));
      await history.finishJob('old', jobEnd({ status: 'failed' }));
      const names = async (filter: Parameters<History['jobs']>[0]) =>
        (await history.jobs(filter)).map((job) => job.job);
      expect(await names({})).toEqual(['new', 'mid', 'old']);
      expect(await names({ limit: 2 })).toEqual(['new', 'mid']);
      expect(await names({ guest: 'debian' })).toEqual(['mid', 'old']);
      expect(await names({ kind: 'backup', status: 'failed' })).toEqual(['old']);
      expect((await history.runningJobs()).map((job) => job.job)).toEqual(['new', 'mid']);
    });

    it('that nobody started are named in the error, and one name is not given twice', async () => {
      await expect(history.recordPhase('x', phase('stop'))).rejects.toMatchObject({ code: 'NoSuchJob' });
      await expect(history.finishJob('x', jobEnd())).rejects.toMatchObject({ code: 'NoSuchJob' });
      await expect(history.intendPause(pauseIntent('x.1', 'x'))).rejects.toMatchObject({ code: 'NoSuchJob' });
      await history.startJob(jobStart('a'));
      const twin = history.startJob(jobStart('a', { guest: 'other' }));
      await expect(twin).rejects.toMatchObject({ code: 'Internal' });
      expect((await history.job('a'))?.guest).toBe('debian');
    });

    it('keep quotes, control characters, NULs and broken UTF-16 of a hostile guest as they came', async () => {
      const nasty = `'; DROP TABLE jobs; -- "\u0000\u0001\u001b[31m\r\n\t\u2028 \ud83d \u{1f4be} \\`;
      await history.startJob(jobStart('a'));
      await history.recordPhase('a', phase('stop', { facts: { [nasty]: nasty } }));
      const said = {
        error: { phase: 'stop', code: 'CommandRefused', message: nasty },
        ...{ warnings: [nasty], summary: { text: nasty } },
      };
      await history.finishJob('a', jobEnd({ status: 'failed', ...said }));
      const phases = [{ facts: { [nasty]: nasty } }];
      expect(await history.job('a')).toMatchObject({ ...said, phases });
    });

    it('with a NUL in the name are refused, since SQLite would hand the name back cut short', async () => {
      await expect(history.startJob(jobStart('a\0b'))).rejects.toMatchObject({ code: 'Internal' });
      expect(await history.jobs({})).toEqual([]);
    });
  });

  it('keeps pauses open until somebody ends them, and the first end; one that was never intended has none', async () => {
    await history.startJob(jobStart('a'));
    await history.intendPause(pauseIntent('a.1', 'a'));
    await history.intendPause(pauseIntent('a.2', 'a'));
    const first = { pausedMs: 12.5, endedBy: 'deadline', endedAt: at('03:15:06.000') } as const;
    await history.endPause('a.1', first);
    await history.endPause('a.1', { pausedMs: null, endedBy: 'recover', endedAt: at('04:00:00.000') });
    expect((await history.openPauses()).map((pause) => pause.pause)).toEqual(['a.2']);
    expect((await history.job('a'))?.pauses[0]).toEqual({ ...pauseIntent('a.1', 'a'), ...first });
    await expect(history.endPause('x.1', first)).rejects.toMatchObject({ code: 'Internal' });
  });

  describe('snapshots', () => {
    it('are listed newest first, and recorded again when they change', async () => {
      const older = snapshot('debian@1', { takenAt: day(20) });
      const newer = snapshot('debian@2', { takenAt: day(21), job: null });
      const other = snapshot('other@1', { takenAt: '2026-11-20T12:00:00.000Z', guest: 'other' });
      for (const record of [older, newer, other]) await history.recordSnapshot(record);
      expect(await history.snapshots({})).toEqual([newer, other, older]);
      const pinned = { ...older, pinned: true, manifestSha256: 'b'.repeat(64) };
      await history.recordSnapshot(pinned);
      expect(await history.snapshots({ guest: 'debian' })).toEqual([newer, pinned]);
      expect(await history.snapshots({ store: 'elsewhere' })).toEqual([]);
    });

    it('that were removed leave every list, and come back when they are found again', async () => {
      await history.recordSnapshot(snapshot('debian@1'));
      await history.forgetSnapshot('local', 'debian@1', { removedAt: day(28), reason: 'expired' });
      expect(await history.snapshots({})).toEqual([]);
      await history.recordSnapshot(snapshot('debian@1'));
      expect(await history.snapshots({})).toEqual([snapshot('debian@1')]);
    });
  });

  it('keeps the last drill of each copy of a snapshot, newest first', async () => {
    const drill = (of: string, drilledAt: string, problem: string | null, store = 'local') => ({
      ...{ snapshot: of, store, guest: 'debian', job: `job-${drilledAt}`, drilledAt },
      ...{ passed: problem === null, problem },
    });
    const second = drill('debian@2', day(23), null);
    const again = drill('debian@1', day(24), 'its init ended');
    const elsewhere = drill('debian@1', day(21), null, 'archive');
    for (const record of [drill('debian@1', day(22), null), elsewhere, second, again])
      await history.recordDrill(record);
    expect(await history.drills()).toEqual([again, second, elsewhere]);
  });

  describe('verifications', () => {
    it('come back as they were recorded, one of each snapshot and store, longest ago first', async () => {
      const filesystems: VerificationRecord['filesystems'] = [
        { disk: 'ubd0', type: 'ext4', verdict: 'bad', reason: 'why', output: '\u001b[31m \u0000' },
        { disk: 'ubd1', type: 'swap', verdict: 'none', reason: null, output: null },
      ];
      const worse = { result: 'badFilesystem', problem: 'ubd0: why', filesystems } as const;
      const first = verification('debian@1', { verifiedAt: day(22) });
      const elsewhere = verification('debian@1', { verifiedAt: day(23), store: 'offsite', job: null });
      const second = verification('debian@2', { verifiedAt: day(24), ...worse });
      for (const record of [second, elsewhere, first]) await history.recordVerification(record);
      expect(await history.verifications({})).toEqual([first, elsewhere, second]);
      expect(await history.verifications({ store: 'local' })).toEqual([first, second]);
      expect(await history.verifications({ snapshot: 'debian@1' })).toEqual([first, elsewhere]);
      const again = verification('debian@1', { verifiedAt: day(25), result: 'damaged', problem: 'x' });
      await history.recordVerification(again);
      expect(await history.verifications({ store: 'local' })).toEqual([second, again]);
    });

    it('that could not be carried out take the place of none that found a snapshot bad', async () => {
      const notRead = verification('debian@1', { result: 'notRead', problem: 'its store was away' });
      for (const found of ['ok', 'damaged', 'badFilesystem'] as const) {
        const record = verification('debian@1', { result: found, problem: found === 'ok' ? null : 'x' });
        await history.recordVerification(record);
        await history.recordVerification(notRead);
        expect(await history.verifications({})).toEqual([found === 'ok' ? notRead : record]);
      }
    });

    it('that found all bytes in order and looked into no filesystem leave a bad filesystem known', async () => {
      const bad = verification('debian@1', { result: 'badFilesystem', problem: 'x' });
      await history.recordVerification(bad);
      const [sound] = verification('debian@1').filesystems;
      for (const verdict of ['notChecked', 'unproven', null] as const) {
        const filesystems = sound && verdict ? [sound, { ...sound, disk: 'ubd1', verdict }] : [];
        await history.recordVerification(verification('debian@1', { filesystems }));
        expect(await history.verifications({})).toEqual([bad]);
      }
      const well = verification('debian@1');
      await history.recordVerification(well);
      expect(await history.verifications({})).toEqual([well]);
    });
  });

  it('remembers the last slot of each guest, and the last id of each store', async () => {
    expect(await history.lastSlot('debian')).toBeNull();
    await history.recordSlot('debian', day(21));
    await history.recordSlot('other', day(23));
    await history.recordSlot('debian', day(22));
    expect(await history.lastSlot('debian')).toBe(day(22));
    const slots = (await history.lastSlots()).map(({ guest, slot }) => `${guest} ${slot}`);
    expect(slots.sort()).toEqual([`debian ${day(22)}`, `other ${day(23)}`]);
    expect(await history.storeId('local')).toBeNull();
    for (const id of ['one', 'two']) await history.rememberStore('local', id);
    expect(await history.storeId('local')).toBe('two');
  });

  it('takes a store that goes by another name for the same by its id, and what was found damaged in it for damaged', async () => {
    const rowsIn = async (store: string) => (await history.snapshots({ store })).map((one) => one.snapshot);
    const badIn = async () => (await history.badFindings({})).verifications.map(({ store }) => store);
    for (const [store, name] of [['a', 'debian@1'] as const, ['b', 'debian@2'] as const]) {
      await history.rememberStore(store, `id-${store}`);
      await history.recordSnapshot(snapshot(name, { store }));
    }
    await history.recordVerification(verification('debian@1', { store: 'a', result: 'damaged' }));
    // One may be a copy of the other, marker and all.
    await history.rememberStore('copy', 'id-a');
    expect(await rowsIn('a')).toEqual(['debian@1']);
    history.useStores(['main', 'b']);
    await history.rememberStore('main', 'id-a');
    expect([await rowsIn('a'), await rowsIn('main'), await badIn()]).toEqual([[], ['debian@1'], ['main']]);
    expect(await history.storeId('a')).toBeNull();
    // A name of before, of another place.
    history.useStores(['b']);
    await history.rememberStore('b', 'id-a');
    expect([await rowsIn('b'), await rowsIn('main'), await badIn()]).toEqual([
      ['debian@1'],
      ['debian@2'],
      ['b'],
    ]);
    expect([await history.storeId('b'), await history.storeId('main')]).toEqual(['id-a', 'id-b']);
  });

  it('remembers the last sweep of each guest in each store, and its nulls', async () => {
    expect(await history.lastSweep('local', 'debian')).toBeNull();
    const sweep = {
      ...{ store: 'local', guest: 'debian', sweptAt: day(21) },
      ...{ newestTakenAt: null, aheadUntil: null, bootId: 'a boot', uptimeMs: 2 ** 40 },
    };
    const later = {
      ...{ ...sweep, sweptAt: day(22), newestTakenAt: at('03:14:00.000') },
      ...{ aheadUntil: '2100-01-01T00:00:00.000Z', bootId: 'another', uptimeMs: 0 },
    };
    await history.recordSweep(sweep);
    expect(await history.lastSweep('local', 'debian')).toEqual(sweep);
    await history.recordSweep(later);
    await history.recordSweep({ ...sweep, guest: 'other' });
    await history.recordSweep({ ...sweep, store: 'offsite' });
    expect(await history.lastSweep('local', 'debian')).toEqual(later);
  });

  describe('events', () => {
    const event = (guest: string, type: 'message' | 'panic', text: string) => ({
      ...{ at: day(21), guest, type, text, missed: 0 },
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

  // What it promises to those who look at all guests at once.
  const minuteOf = (minute: number) => `2026-11-21T03:${String(minute).padStart(2, '0')}:00.000Z`;
  const run = async (job: string, guest: string | null, minute: number, more = {}, end = {}) => {
    await history.startJob(jobStart(job, { guest, startedAt: minuteOf(minute), ...more }));
    await history.finishJob(job, jobEnd(end));
  };
  const pause = async (guest: string, minute: number, pausedMs: number | null) => {
    const job = `${guest}${minute}`;
    await run(job, guest, minute);
    await history.intendPause({ ...pauseIntent(`${job}.1`, job), guest, intendedAt: minuteOf(minute) });
    await history.endPause(`${job}.1`, { pausedMs, endedBy: 'request', endedAt: minuteOf(minute) });
  };

  describe('the newest of each guest', () => {
    it('are the newest backups, oldest first, whatever else a guest has and however few, and the last that was not left out', async () => {
      for (let minute = 0; minute < 5; minute++) await run(`a${minute}`, 'a', minute);
      await run('a9', 'a', 9, { kind: 'verify' });
      await run('b1', 'b', 1, {}, { status: 'failed' });
      await history.startJob(jobStart('b2', { guest: 'b', startedAt: minuteOf(2) }));
      const found = await history.recentBackups(['b', 'none', 'a'], 3);
      const kept = ['a2 success', 'a3 success', 'a4 success', 'b1 failed', 'b2 running'];
      expect(found.map(({ job, status }) => `${job} ${status}`)).toEqual(kept);
      expect(await history.recentBackups([], 3)).toEqual([]);

      const error = { phase: 'preflight', code: 'GuestHalted', message: 'Guest b is halted.' };
      for (const minute of [3, 4]) await run(`b${minute}`, 'b', minute, {}, { status: 'skipped', error });
      const halted = await history.recentBackups(['b'], 2);
      const told = ['b1 failed false', 'b3 skipped true', 'b4 skipped true'];
      expect(halted.map(({ job, status, isHalted }) => `${job} ${status} ${isHalted}`)).toEqual(told);
    });

    it('are the sound snapshots that are there, in each store that has a sound copy', async () => {
      const taken = (name: string, minute: number, store = 'local') =>
        history.recordSnapshot(snapshot(name, { guest: name.slice(0, 1), takenAt: minuteOf(minute), store }));
      await taken('a@1', 1);
      await taken('a@2', 2, 'one');
      await taken('a@2', 2, 'two');
      await taken('a@3', 3);
      await history.forgetSnapshot('local', 'a@3', { removedAt: minuteOf(4), reason: 'expired' });
      await taken('c@1', 1);
      const newest = async (isDrilled = false, stores = ['local', 'one', 'two']) => {
        const asked = ['a', 'b'].map((name) => ({ name, isDrilled }));
        return (await history.newestSound(asked, stores)).map((one) => `${one.snapshot} ${one.store}`).sort();
      };
      expect(await newest()).toEqual(['a@2 one', 'a@2 two']);
      expect([await newest(false, ['local', 'two']), await newest(false, ['local'])]).toEqual([
        ['a@2 two'],
        ['a@1 local'],
      ]);
      const found = (store: string, result: VerificationRecord['result']) =>
        history.recordVerification(verification('a@2', { store, result }));
      await found('one', 'notRead');
      await found('two', 'damaged');
      expect(await newest()).toEqual(['a@2 one']);
      const drill = { snapshot: 'a@2', store: 'one', guest: 'a', job: 'd', drilledAt: minuteOf(5) };
      await history.recordDrill({ ...drill, passed: false, problem: 'it ended' });
      expect([await newest(), await newest(true)]).toEqual([['a@2 one'], ['a@1 local']]);
      await found('one', 'damaged');
      expect(await newest()).toEqual(['a@1 local']);
      // A new copy in its place has been found nothing.
      await history.forgetFindings('one', 'a@2');
      expect(await newest(true)).toEqual(['a@2 one']);
      // Nor has one of another job, whose row was not written before.
      await found('one', 'damaged');
      await history.forgetSnapshot('one', 'a@2', { removedAt: minuteOf(7), reason: 'expired' });
      const again = snapshot('a@2', { guest: 'a', takenAt: minuteOf(2), store: 'one' });
      await history.recordSnapshot(again);
      expect(await newest()).toEqual(['a@1 local']);
      await history.recordSnapshot({ ...again, job: 'another' });
      expect(await newest()).toEqual(['a@2 one']);
      await history.recordSnapshot(again);
      const sizesIn = async (store: string, limit: number) =>
        (await history.sizesOf({ guest: 'a', store }, limit)).map(({ takenAt }) => takenAt);
      expect([await sizesIn('local', 3), await sizesIn('local', 1)]).toEqual([
        [minuteOf(1), minuteOf(3)],
        [minuteOf(3)],
      ]);
      expect(await sizesIn('two', 3)).toEqual([minuteOf(2)]);
    });

    it('are how far a store is behind the others of its guest, by what is there', async () => {
      const taken = (name: string, minute: number, store: string) =>
        history.recordSnapshot(snapshot(name, { guest: name.slice(0, 1), takenAt: minuteOf(minute), store }));
      for (const minute of [1, 2, 3, 4]) await taken(`a@${minute}`, minute, 'local');
      await taken('a@3', 3, 'second');
      await taken('a@2', 2, 'away');
      await taken('a@1', 1, 'away');
      await taken('b@9', 9, 'away');
      await history.forgetSnapshot('local', 'a@4', { removedAt: minuteOf(5), reason: 'expired' });
      await taken('a@5', 5, 'dropped');
      const stores = ['local', 'second', 'away', 'new'];
      const gapOf = async (store: string, guest = 'a') =>
        (await history.storeGaps([{ guest, store }], stores))[0];
      const none = { missed: 0, missedSince: null };
      expect(await gapOf('local')).toEqual({ guest: 'a', store: 'local', newestAt: minuteOf(3), ...none });
      expect(await gapOf('away')).toMatchObject({
        newestAt: minuteOf(2),
        missed: 1,
        missedSince: minuteOf(3),
      });
      expect(await gapOf('new')).toMatchObject({ newestAt: null, missed: 3, missedSince: minuteOf(1) });
      expect(await gapOf('new', 'c')).toMatchObject({ newestAt: null, ...none });
      expect(await history.storeGaps([], stores)).toEqual([]);
    });

    it('are the pauses that somebody measured', async () => {
      await pause('a', 1, 7);
      await pause('a', 2, 2.5);
      await pause('a', 3, null);
      const last = { guest: 'a', pausedMs: 2.5, budgetMs: 5000, intendedAt: minuteOf(2) };
      expect(await history.lastPauses(['a', 'b'])).toEqual([last]);
      expect((await history.pausesOf('a', 9)).map(({ pausedMs }) => pausedMs)).toEqual([7, 2.5]);
      expect((await history.pausesOf('a', 1)).map(({ pausedMs }) => pausedMs)).toEqual([2.5]);
    });

    it('are the last proofs that a snapshot is good, and not those that failed', async () => {
      await run('v1', 'a', 1, { kind: 'verify' }, { finishedAt: minuteOf(5) });
      await run('v2', 'a', 2, { kind: 'verify' }, { status: 'failed' });
      await run('d1', 'a', 3, { kind: 'drill' }, { finishedAt: minuteOf(6), status: 'warning' });
      expect(await history.lastProven(['a', 'b'], 'verify')).toEqual([{ guest: 'a', at: minuteOf(5) }]);
      expect(await history.lastProven(['a', 'b'], 'drill')).toEqual([{ guest: 'a', at: minuteOf(6) }]);
    });

    it('are the jobs passed over with an offset, and how long some took', async () => {
      for (let minute = 0; minute < 4; minute++)
        await run(`a${minute}`, 'a', minute, {}, { finishedAt: minuteOf(9) });
      await history.startJob(jobStart('a9', { guest: 'a', startedAt: minuteOf(9) }));
      const page = await history.jobs({ guest: 'a', limit: 2, offset: 2 });
      expect(page.map(({ job }) => job)).toEqual(['a2', 'a1']);
      const took = { job: 'a1', startedAt: minuteOf(1), finishedAt: minuteOf(9) };
      expect(await history.durations(['a1', 'a9', 'none'])).toEqual([took]);
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
      const found = await history.jobTotals();
      const totals = found.map(({ guest, kind, status, jobs }) => `${guest} ${kind} ${status} ${jobs}`);
      expect(totals.sort()).toEqual(['a backup failed 1', 'a backup success 2', 'null recover success 1']);
    });

    it('count every measured pause once, in its class, also when somebody closes it again', async () => {
      for (const [minute, pausedMs] of [1, 1.001, 2.5, 70_000, 70_001, null].entries()) {
        await pause('a', minute, pausedMs);
        await history.endPause(`a${minute}.1`, { pausedMs: 9, endedBy: 'recover', endedAt: minuteOf(59) });
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
