import { describe, expect, test } from 'vitest';
import {
  alertsOfJob,
  alertsOfVerification,
  type EndedJob,
  missedSlotOf,
  overdueGraceMs,
} from '../../src/alerts/decide-alerts.js';

const ended = (status: string, finishedAt: string, more: Partial<EndedJob> = {}): EndedJob => ({
  ...{ job: `job-${finishedAt}`, kind: 'backup', guest: 'debian', status, finishedAt, warnings: [] },
  error: status === 'failed' ? { code: 'StoreTooFull', message: 'The store is full.' } : null,
  ...more,
});
const day = (number: number, hour = 3) =>
  `2026-11-${String(number).padStart(2, '0')}T${String(hour).padStart(2, '0')}:15:00.000Z`;
const kindsOf = (job: EndedJob, before: EndedJob[]) => alertsOfJob(job, before).map(({ kind }) => kind);

describe('a failure is told', () => {
  test('when it is the first, also of all jobs', () => {
    expect(kindsOf(ended('failed', day(2)), [ended('success', day(1))])).toEqual(['failure']);
    expect(kindsOf(ended('failed', day(2)), [])).toEqual(['failure']);
  });

  test('not again while it lasts, but once a day', () => {
    const first = ended('failed', day(2, 3));
    const second = ended('failed', day(2, 9));
    expect(kindsOf(second, [first, ended('success', day(1))])).toEqual([]);
    const [reminder] = alertsOfJob(ended('failed', day(3, 4)), [second, first, ended('success', day(1))]);
    expect(reminder).toMatchObject({
      kind: 'failure',
      subject: 'umlsnap: debian: backup has been failing since 2026-11-02T03:15:00.000Z, 3 times',
    });
    expect(kindsOf(ended('failed', day(3, 5)), [ended('failed', day(3, 4)), second, first])).toEqual([]);
  });

  test('each time where the guest may stand still', () => {
    const paused = (at: string) =>
      ended('failed', at, { error: { code: 'GuestMayBePaused', message: 'Guest debian MAY BE PAUSED.' } });
    const [alert] = alertsOfJob(paused(day(2, 4)), [paused(day(2, 3))]);
    expect(alert).toMatchObject({ kind: 'failure', subject: 'umlsnap: debian: GUEST MAY BE PAUSED' });
  });
});

test('what was skipped or interrupted tells nothing, and hides no failure and no recovery', () => {
  const failed = ended('failed', day(1));
  expect(kindsOf(ended('skipped', day(2)), [failed])).toEqual([]);
  expect(kindsOf(ended('interrupted', day(2)), [failed])).toEqual([]);
  const between = [ended('skipped', day(3)), ended('interrupted', day(2)), failed];
  expect(kindsOf(ended('failed', day(1, 5)), between)).toEqual([]);
  expect(kindsOf(ended('success', day(4)), between)).toEqual(['recovery']);
});

test('a recovery tells how often and since when it had failed, and warnings are told when they begin', () => {
  const before = [ended('failed', day(3)), ended('failed', day(2)), ended('success', day(1))];
  const alerts = alertsOfJob(ended('warning', day(4), { warnings: ['the agent did not answer'] }), before);
  expect(alerts.map(({ kind, text }) => [kind, text])).toEqual([
    ['recovery', `It had failed 2 times since ${day(2)}: The store is full.`],
    ['warning', 'the agent did not answer'],
  ]);
  expect(kindsOf(ended('warning', day(5)), [ended('warning', day(4))])).toEqual([]);
});

describe('a slot is missed', () => {
  const expected = { guest: 'debian', schedule: '15 3 * * *', timezone: 'UTC', jitterMs: 300_000 };
  const allowedMs = overdueGraceMs + expected.jitterMs;

  test('once its jitter and the grace are over and no backup has begun since', () => {
    const due = Date.parse(day(2));
    const began = new Date(day(1));
    expect(missedSlotOf(expected, began, new Date(due + allowedMs - 1))).toBeNull();
    expect(missedSlotOf(expected, began, new Date(due + allowedMs))).toEqual(new Date(due));
  });

  test('not where a backup began since, however it ended, nor with a clock that was set back', () => {
    expect(missedSlotOf(expected, new Date(day(2)), new Date(day(2, 12)))).toBeNull();
    expect(missedSlotOf(expected, new Date(day(2)), new Date(day(1)))).toBeNull();
  });
});

test('a verification tells of each snapshot that is bad, by its guest, and of a store that is; not of what could not be read', () => {
  const ended = { job: 'v', finishedAt: day(2), error: { code: 'SnapshotsBad', message: 'Two are bad.' } };
  const found = (snapshot: string, result: string) => ({ snapshot, store: 'local', result, problem: 'Why.' });
  const problems = [found('debian@1', 'damaged'), found('web@1', 'badFilesystem'), found('db@1', 'notRead')];
  expect(alertsOfVerification({ ...ended, problems })).toMatchObject([
    { kind: 'failure', guest: 'debian', subject: 'umlsnap: debian@1 in store local is damaged' },
    { kind: 'failure', guest: 'web', subject: expect.stringContaining('filesystem that is not sound') },
  ]);
  const error = { code: 'StoreUnusable', message: 'Store offsite is damaged.' };
  expect(alertsOfVerification({ ...ended, error, problems: [] })).toMatchObject([
    { guest: null, text: 'Store offsite is damaged.' },
  ]);
  expect(alertsOfVerification({ ...ended, error: null, problems: [] })).toEqual([]);
});
