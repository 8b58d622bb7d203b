import { describe, expect, test } from 'vitest';
import type { GuestConfig } from '../../src/config/config.js';
import {
  type GuestRecords,
  inOrder,
  overviewOf,
  type SeenState,
} from '../../src/dashboard/guest-overview.js';
import { GuestWatch } from '../../src/dashboard/guest-watch.js';
import { verdict } from '../../src/dashboard/pages/first-page.js';
import type { JobStatus } from '../../src/history/records.js';
import { promisedRun } from '../../src/schedule/promised-run.js';
import { snapshot } from '../history/records-of-tests.js';

/** What counts as well, and what does not. */

const now = new Date('2026-11-25T12:00:00.000Z');
const daily = { schedule: '15 3 * * *', timezone: 'UTC', jitterMs: 0, catchUp: true };
const config = (name = 'debian', more = {}) =>
  ({ name, ...daily, pauseBudgetMs: 5000, keep: {}, disks: [], ...more }) as unknown as GuestConfig;
const fresh = '2026-11-25T03:15:02.000Z';
const nothing: GuestRecords = {
  ...{ recent: [], newest: null, unsound: [], stores: [], lastPause: null, openPause: null, lastSlot: fresh },
};
const job = (status: JobStatus, startedAt: string, isHalted = false) => ({
  ...{ guest: 'debian', job: 'a', status, startedAt, isHalted },
});
const well: GuestRecords = {
  ...nothing,
  newest: snapshot('debian@20261125T031502Z', { takenAt: fresh }),
  recent: [job('success', '2026-11-25T03:15:00.000Z')],
};
const overview = (records: GuestRecords, state: SeenState['state'] = 'running', name?: string, more = {}) =>
  overviewOf(config(name, more), records, { state, problem: null }, now);
const findingsOf = (records: Partial<GuestRecords>, seen?: SeenState['state'], more = {}) =>
  overview({ ...well, ...records }, seen, 'debian', more).findings.map(
    ({ level, text }) => `${level}: ${text}`,
  );

describe('a guest', () => {
  test('is well with a snapshot of its newest time, whether it was looked at or not', () => {
    expect(findingsOf({})).toEqual([]);
    expect(overviewOf(config(), well, null, now).findings).toEqual([]);
  });

  test('is late when its newest snapshot is older than the schedule promised, and its last job was fine', () => {
    const newest = snapshot('debian@20261124T031502Z', { takenAt: '2026-11-24T03:15:02.000Z' });
    expect(findingsOf({ newest })).toEqual(['bad: late by 9 h']);
    expect(findingsOf({ newest }, 'running', { schedule: undefined })).toEqual([]);
  });

  test('is not late for a slot that it was halted in, if its last backup before that is sound', () => {
    const at = (instant: string) => `2026-11-${instant}:00.000Z`;
    const newest = snapshot('debian@20261124T031502Z', { takenAt: at('24T03:15') });
    const [good, bad] = [job('success', at('24T03:15')), job('failed', at('24T09:00'))];
    const halted = job('skipped', at('25T03:15'), true);
    const since = [job('skipped', at('25T04:15')), job('running', at('25T11:59'))];
    expect(findingsOf({ newest, recent: [good, halted, ...since] })).toEqual([]);
    expect(findingsOf({ newest, recent: [halted] })).toEqual([]);
    const late = 'bad: late by 9 h';
    expect(findingsOf({ newest, recent: [good, bad, halted] })).toEqual([
      'bad: last backup failed, 27 h ago',
      late,
    ]);
    expect(findingsOf({ newest, recent: [good, job('success', at('24T09:00')), halted] })).toEqual([late]);
    expect(findingsOf({ newest, recent: [good, halted, job('failed', at('25T11:00')), ...since] })).toEqual([
      ...['bad: last backup failed, 60 min ago', late],
    ]);
    // It was booted since, and its backup of that slot hangs, or was skipped for another reason.
    expect(findingsOf({ newest, recent: [good, job('skipped', at('24T12:00'), true), ...since] })).toEqual([
      late,
    ]);
  });

  test('has failed until there is a newer snapshot, whatever was skipped or is running since', () => {
    const jobAt = (status: JobStatus, time: string) => job(status, `2026-11-${time}:00.000Z`);
    const since = [jobAt('skipped', '25T11:00'), jobAt('running', '25T11:59')];
    expect(findingsOf({ recent: [jobAt('failed', '25T10:00'), ...since] })).toEqual([
      'bad: last backup failed, 2 h ago',
    ]);
    expect(findingsOf({ recent: [jobAt('failed', '24T10:00')] })).toEqual([]);
    expect(findingsOf({ recent: [jobAt('interrupted', '25T11:00')] })).toEqual([
      'bad: last backup was interrupted, 60 min ago',
    ]);
  });

  test('may be paused when its pause is not closed long after its budget, and not before', () => {
    const pausedSince = (time: string) => {
      const openPause = { job: 'a', intendedAt: `2026-11-25T${time}.000Z`, budgetMs: 5000 };
      return findingsOf({ openPause }, 'stopped');
    };
    expect(pausedSince('11:59:45')).toEqual([]);
    expect(pausedSince('11:58:00')).toEqual(['bad: may be paused, for 2 min: run umlsnap recover']);
    expect(findingsOf({}, 'stopped')).toEqual(['bad: stands still, and no job of ours has stopped it']);
  });

  test('is bad with a copy that is not sound, whichever it is, and says that no snapshot is where none is', () => {
    const soundness = {
      type: 'damaged' as const,
      since: fresh,
      why: 'its last verification found it damaged',
    };
    const unsound = [{ snapshot: 'debian@1', store: 'local', soundness }];
    const damaged = 'bad: damaged: debian@1 in local; umlsnap show debian@1';
    expect(findingsOf({ unsound })).toEqual([damaged]);
    expect(findingsOf({ unsound, newest: null })).toEqual(['bad: no sound snapshot', damaged]);
    expect(verdict([overview({ ...well, unsound })]).toString()).not.toContain('is well');
  });

  test('without a snapshot is bad once one was tried, and a note before', () => {
    expect(findingsOf({ newest: null, recent: [] })).toEqual(['notice: no snapshot yet']);
    expect(findingsOf({ newest: null })).toEqual(['bad: no snapshot yet']);
  });
});

test('the worst come first, and the line on top tells bad from notes', () => {
  const bad = overview(nothing, 'stopped', 'c');
  const [note, fine] = [overview(well, 'notRunning', 'b'), overview(well, 'running', 'a')];
  expect(inOrder([fine, note, bad]).map(({ guest }) => guest)).toEqual(['c', 'b', 'a']);
  expect(verdict([fine, note, bad]).toString()).toContain('1 of 3 guests needs attention.');
  expect(verdict([fine, note]).toString()).toContain('All 2 guests are well, with 1 note.');
  expect(verdict([fine]).toString()).toContain('The guest is well.');
});

describe('what a schedule has promised', () => {
  const at = (time: string, more = {}) => promisedRun({ ...daily, ...more }, new Date(`2026-11-${time}Z`));

  test('is the newest slot, as soon as its run had the time to end', () => {
    expect(at('25T04:14')?.slot).toEqual(new Date('2026-11-24T03:15:00Z'));
    expect(at('25T04:15')?.slot).toEqual(new Date('2026-11-25T03:15:00Z'));
    expect(at('25T04:15', { jitterMs: 60_000 })?.slot).toEqual(new Date('2026-11-24T03:15:00Z'));
  });

  test('is far apart over a weekend, and close by for a schedule of minutes', () => {
    // A Monday's first hour: Friday's snapshot is what was promised, three days before the next.
    const slot = new Date('2026-11-20T03:00:00Z');
    expect(at('23T03:30', { schedule: '0 3 * * 1-5' })).toEqual({ slot, intervalMs: 3 * 86_400_000 });
    const minutes = { slot: new Date('2026-11-25T11:55:00Z'), intervalMs: 60_000 };
    expect(at('25T12:00:30', { schedule: '* * * * *' })).toEqual(minutes);
  });
});

test('guests are looked at once, however many look at a page, and never while somebody works on them', async () => {
  const looked: string[] = [];
  const changed: string[] = [];
  const errors: unknown[] = [];
  const watch = new GuestWatch({
    guests: () => ['idle', 'atWork', 'broken'].map((name) => ({ name }) as GuestConfig),
    look: async ({ name }) => {
      looked.push(name);
      if (name === 'broken') throw new Error('no');
      return { state: 'running', problem: null };
    },
    isAtWork: async (guest) => guest === 'atWork',
    onChange: (guest) => changed.push(guest),
    onError: (error) => errors.push(error),
  });
  expect(watch.seen('idle')).toBeNull();
  await Promise.all(Array.from({ length: 20 }, () => watch.want()));
  expect(looked).toEqual(['idle', 'broken']);
  expect(changed).toEqual(['idle']);
  expect(errors).toHaveLength(1);
  const states = ['idle', 'atWork', 'broken'].map((name) => watch.seen(name)?.state);
  expect(states).toEqual(['running', undefined, undefined]);
  await watch.close();
  await watch.want();
  expect(looked).toHaveLength(2);
});
