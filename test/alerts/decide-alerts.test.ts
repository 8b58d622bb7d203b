import { describe, expect, test } from 'vitest';
import {
  alertOfReload,
  alertsOfJob,
  alertsOfVerification,
  type EndedJob,
  missedSlotOf,
  overdueGraceMs,
} from '../../src/alerts/decide-alerts.js';

const ended = (status: string, finishedAt: string, more: Partial<EndedJob> = {}): EndedJob => ({
  ...{
    job: `job-${finishedAt}`,
    kind: 'backup',
    guest: 'debian',
    status,
    finishedAt,
    warnings: [],
    level: null,
  },
  error: status === 'failed' ? { code: 'StoreTooFull', message: 'The store is full.' } : null,
  ...more,
});
const day = (number: number, hour = 3) => `2026-11-0${number}T${String(hour).padStart(2, '0')}:15:00.000Z`;
const failedAt = (...when: [number, number?]) => ended('failed', day(...when));
const kindsOf = (job: EndedJob, ...before: EndedJob[]) => alertsOfJob(job, before).map(({ kind }) => kind);

describe('a failure is told', () => {
  const well = ended('success', day(1));

  test('when it is the first, also of all jobs; not again while it lasts, but once a day', () => {
    expect(kindsOf(failedAt(2))).toEqual(['failure']);
    expect(kindsOf(failedAt(2), well)).toEqual(['failure']);
    expect(kindsOf(failedAt(2, 9), failedAt(2), well)).toEqual([]);
    const sofar = [failedAt(2, 9), failedAt(2), well];
    const subject = `umlsnap: debian: backup has been failing since ${day(2)}, 3 times`;
    expect(alertsOfJob(failedAt(3, 4), sofar)).toMatchObject([{ kind: 'failure', subject }]);
    expect(kindsOf(failedAt(3, 5), failedAt(3, 4), ...sofar.slice(0, 2))).toEqual([]);
  });

  test('each time where the guest may stand still', () => {
    const error = { code: 'GuestMayBePaused', message: 'Guest debian MAY BE PAUSED.' };
    const paused = (hour: number) => ended('failed', day(2, hour), { error });
    const subject = 'umlsnap: debian: GUEST MAY BE PAUSED';
    expect(alertsOfJob(paused(4), [paused(3)])).toMatchObject([{ kind: 'failure', subject }]);
  });
});

describe('another level of consistency is told', () => {
  const taken = (number: number, level: EndedJob['level'], kind = 'backup') =>
    ended('success', day(number), { level, kind });

  test('with the agent as its cure, beside whatever else is told, and not again', () => {
    const before = [failedAt(2), taken(1, 'synced')];
    const alerts = alertsOfJob(taken(3, 'crash'), before);
    expect(alerts).toMatchObject([
      { kind: 'recovery' },
      { kind: 'level', subject: 'umlsnap: debian: its snapshot is only `crash`' },
    ]);
    expect(alerts[1]?.text).toMatch(/^They were `synced` or better before\. The agent .*`umlsnap agent`/);
    expect(kindsOf(taken(4, 'crash'), taken(3, 'crash'), ...before)).toEqual([]);
  });

  test('when it is back', () => {
    const nine = Array.from({ length: 9 }, () => taken(3, 'synced'));
    const back = alertsOfJob(taken(4, 'synced'), [...nine, taken(2, 'crash'), taken(1, 'synced')]);
    expect(back).toMatchObject([{ kind: 'level', subject: 'umlsnap: debian: snapshots are `synced` again' }]);
  });
});

test('what was skipped or interrupted tells nothing, and hides no failure and no recovery', () => {
  for (const status of ['skipped', 'interrupted'])
    expect(kindsOf(ended(status, day(2)), failedAt(1))).toEqual([]);
  const between = [ended('skipped', day(3)), ended('interrupted', day(2)), failedAt(1)];
  expect(kindsOf(failedAt(1, 5), ...between)).toEqual([]);
  expect(kindsOf(ended('success', day(4)), ...between)).toEqual(['recovery']);
});

test('a recovery tells how often and since when it had failed, and warnings are told when they begin', () => {
  const before = [failedAt(3), failedAt(2), ended('success', day(1))];
  const alerts = alertsOfJob(ended('warning', day(4), { warnings: ['the agent did not answer'] }), before);
  expect(alerts.map(({ kind, text }) => [kind, text])).toEqual([
    ['recovery', `It had failed 2 times since ${day(2)}: The store is full.`],
    ['warning', 'the agent did not answer'],
  ]);
  expect(kindsOf(ended('warning', day(5)), ended('warning', day(4)))).toEqual([]);
});

test('a slot is missed once its jitter and the grace are over and no backup has begun since, however it ended, with a clock that was not set back', () => {
  const expected = { guest: 'debian', schedule: '15 3 * * *', timezone: 'UTC', jitterMs: 300_000 };
  const [before, due] = [new Date(day(1)), new Date(day(2))];
  const overdueMs = due.getTime() + overdueGraceMs + expected.jitterMs;
  expect(missedSlotOf(expected, before, new Date(overdueMs - 1))).toBeNull();
  expect(missedSlotOf(expected, before, new Date(overdueMs))).toEqual(due);
  expect(missedSlotOf(expected, due, new Date(day(2, 12)))).toBeNull();
  expect(missedSlotOf(expected, due, before)).toBeNull();
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

test('a config that is refused is told once, however often it is read again, and so is its end', () => {
  const about = { file: '/c.yaml', now: new Date('2026-11-21T03:15:00.000Z') };
  const refused = { at: '2026-11-21T02:00:00.000Z', problem: '/c.yaml has 1 problem' };
  expect(alertOfReload(about, null, null)).toBeNull();
  expect(alertOfReload(about, refused, refused)).toBeNull();
  expect(alertOfReload(about, null, refused)).toMatchObject({ kind: 'failure', guest: null, job: null });
  expect(alertOfReload(about, refused, null)).toMatchObject({ kind: 'recovery', guest: null, job: null });
});

test('a guest that is halted is told once, however many backups are skipped for it, and once when it is backed up again', () => {
  const error = { code: 'GuestHalted', message: 'Guest debian is halted.' };
  const halted = (number: number) => ended('skipped', day(number), { error });
  const busy = ended('skipped', day(3), { error: { code: 'Busy', message: 'It is being worked on.' } });
  const well = ended('success', day(1));
  expect(kindsOf(halted(2), well)).toEqual(['halted']);
  expect(kindsOf(halted(4), busy, halted(2), well)).toEqual([]);
  expect(kindsOf(ended('success', day(5)), halted(4), busy, halted(2), well)).toEqual(['halted']);
  // It may be halted still: nobody can tell by a job that failed.
  expect(kindsOf(failedAt(5), halted(4), well)).toEqual(['failure']);
  expect(kindsOf(ended('success', day(6)), ended('success', day(5)), halted(4))).toEqual([]);
});
