import { closeSync, fstatSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { isJournal, journalLines } from '../../src/daemon/log-format.js';

const entry = (level: number, msg: string, facts: object = {}) => ({
  level,
  time: '2026-11-21',
  msg,
  ...facts,
});
const job = { job: 'j1', kind: 'backup', guest: 'debian', durationMs: 1500, warnings: [], error: null };
const taken = { consistency: 'synced', pausedMs: 6.3, sizeBytes: 2 ** 26, phases: [{}], filled: [{}] };

test('a job is one line for people, with what came of it, and why', () => {
  expect(journalLines(entry(30, 'backup done', { ...job, ...taken, status: 'success' }))).toBe(
    '<6>debian: backup done, synced, pause 6.3 ms, 64MiB, in 1.5 s, job j1\n',
  );
  const error = { phase: 'preflight', code: 'StoreTooFull', message: 'Store local has\ntoo little room.' };
  expect(journalLines(entry(50, 'backup failed', { ...job, status: 'failed', error }))).toBe(
    '<3>debian: backup failed, in 1.5 s, job j1: Store local has too little room.\n',
  );
  expect(journalLines(entry(40, 'verify done', { ...job, guest: null, warnings: ['a', 'b'] }))).toBe(
    '<4>verify done, in 1.5 s, job j1: a b\n',
  );
});

test('all else has its facts behind it, its level as journald knows it, and no line that passes for another one', () => {
  expect(journalLines(entry(20, 'sweep', { guest: 'debian', found: 'nothing', none: null }))).toBe(
    '<7>sweep guest=debian found=nothing\n',
  );
  expect(journalLines(entry(60, 'GUEST MAY BE PAUSED', { problem: 'x\n<6>all is well' }))).toBe(
    '<2>GUEST MAY BE PAUSED problem=x <6>all is well\n',
  );
  const two = journalLines(entry(50, 'c.yaml has 1 problem:\n<6>all is well\u001b[2J'));
  expect(two).toMatch(/^<3>c\.yaml has 1 problem:\n<3> {2}<6>all is well.*\n$/);
  expect(two).not.toContain('\u001b');
});

test('the journal is known by the file that stderr is, and not by a variable that was inherited', () => {
  const fd = openSync('/dev/null', 'r');
  try {
    const { dev, ino } = fstatSync(fd);
    expect(isJournal({ JOURNAL_STREAM: `${dev}:${ino}` }, fd)).toBe(true);
    expect(isJournal({ JOURNAL_STREAM: `${dev}:${ino + 1}` }, fd)).toBe(false);
    expect(isJournal({}, fd)).toBe(false);
  } finally {
    closeSync(fd);
  }
});
