import { expect, test } from 'vitest';
import { type BackupRecord, checkBackups } from '../../src/doctor/check-backups.js';

const now = new Date('2026-11-21T12:00:00Z');
const failed = { status: 'failed', finishedAt: '2026-11-21T03:15:09.000Z', error: { message: 'Full.' } };
const done = { status: 'success', finishedAt: '2026-11-20T03:15:09.000Z', error: null };
const soundAt = (takenAt: string) => ({
  lastSound: { snapshot: 'debian@x', store: 'local', takenAt: `${takenAt}.000Z` },
});

function found(more: Partial<BackupRecord>) {
  const nothing = { lastSound: null, ended: [], hasCopies: false, isRunning: false, isHalted: false };
  const nightly = { guest: 'debian', schedule: '15 3 * * *', timezone: 'UTC', jitterMs: 0 };
  return checkBackups({ ...nightly, ...nothing, ...more }, now);
}

test.each<[string, Partial<BackupRecord>, string, RegExp]>([
  ['none yet, and one to come', {}, 'ok', /no backup yet/],
  ['none, and none to come', { schedule: undefined }, 'warning', /no schedule/],
  ['none, though many were tried', { ended: [failed, failed] }, 'critical', /last 2 backups failed.*Full\./],
  ['one that was damaged since', { ended: [done] }, 'critical', /damaged, or was removed/],
  [
    'none that is sound, of a guest whose jobs were all skipped',
    { hasCopies: true },
    'critical',
    /damaged, or was removed/,
  ],
  ['one of tonight', { ...soundAt('2026-11-21T03:15:02'), ended: [done] }, 'ok', /^Its last sound/],
  [
    'one of last night',
    { ...soundAt('2026-11-20T03:15:02'), ended: [failed, done] },
    'warning',
    /one was due.*Full\./,
  ],
  [
    'the same, while the next is at work',
    { ...soundAt('2026-11-20T03:15:02'), isRunning: true },
    'ok',
    /old\.$/,
  ],
  [
    'one of the night before',
    { ...soundAt('2026-11-19T03:15:02'), ended: [failed, failed] },
    'critical',
    /2 were due/,
  ],
  [
    'the same of a guest that is halted',
    { ...soundAt('2026-11-19T03:15:02'), isHalted: true },
    'ok',
    /halted/,
  ],
  ['an old one by hand', { ...soundAt('2025-11-19T03:15:02'), schedule: undefined }, 'ok', /old\.$/],
  [
    'one that a later one by hand failed after',
    { ...soundAt('2026-11-21T03:15:02'), ended: [failed] },
    'warning',
    /Full\./,
  ],
  ['one of a clock that was ahead', soundAt('2026-12-21T03:15:02'), 'ok', /0/],
])('a guest is judged by its last sound snapshot, not by its last job: %s', (_, record, level, what) => {
  expect(found(record)).toMatchObject({ level, what: expect.stringMatching(what) });
});

test('a run that is late by its jitter and some patience is not missed', () => {
  const at = soundAt('2026-11-20T03:15:02');
  const lately = { ...at, schedule: '55 11 * * *' };
  expect(
    checkBackups(
      {
        ...{ guest: 'debian', timezone: 'UTC', jitterMs: 0 },
        ...lately,
        ended: [],
        hasCopies: true,
        isRunning: false,
        isHalted: false,
      },
      now,
    ),
  ).toMatchObject({ facts: { missed: 1 } });
});
