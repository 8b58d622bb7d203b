import { describe, expect, test } from 'vitest';
import { JobLog } from '../../src/job/job-log.js';
import { jobStart, phase } from '../history/records-of-tests.js';

const textsOf = (log: JobLog) => log.lines().map(({ level, text }) => `${level} ${text}`);

describe('the log of a job', () => {
  test('tells in order who began it, each phase with its figures, what the guest said, and how it ended', () => {
    const log = new JobLog();
    log.began(jobStart('a', { trigger: 'schedule' }));
    const facts = { copiedBytes: 2 ** 30, pausedMs: 2.5, precopy: { rounds: 1 } };
    log.phaseEnded(phase('capture', { facts }));
    log.phaseEnded(phase('fill', { outcome: 'failed' }));
    const said = { at: '', guest: 'debian', missed: 0 };
    log.guestSaid({ ...said, type: 'message', text: 'hello' });
    log.guestSaid({ ...said, type: 'panic', text: 'oops', missed: 2 });
    log.ended('failed', 1500, { phase: 'fill', code: 'GuestPanicked', message: 'It panicked.' });
    expect(textsOf(log)).toEqual([
      'info backup of debian began, by the daemon, as scheduled (process 4711)',
      'info capture: done after 13 ms copied=1GiB paused=2.5ms',
      'warn fill: failed after 13 ms',
      'info guest, message: hello',
      'warn guest, panic: oops (and 2 more right before, too fast to be kept)',
      'error GuestPanicked in fill: It panicked.',
      'error ended after 1.5 s: failed',
    ]);
    for (const { at } of log.lines()) expect(Math.abs(Date.parse(at) - Date.now())).toBeLessThan(60_000);
  });

  test('tells a warning when it arises, and not once more at the end', () => {
    const log = new JobLog();
    log.warnings(['one']);
    log.info('between');
    log.warnings(['one', 'two']);
    expect(textsOf(log)).toEqual(['warn one', 'info between', 'warn two']);
  });

  test('lets a hostile guest write no line of its own, no escape, and no more than 1000 characters', () => {
    const log = new JobLog();
    const text = `\u001b[2Jx\u202e\n2026 error forged\0${'y'.repeat(5000)}`;
    log.guestSaid({ at: '', guest: 'debian', type: 'message', text, missed: 0 });
    const [line, ...more] = log.lines();
    expect(more).toEqual([]);
    expect(line?.text).toMatch(/^guest, message: x 2026 error forgedy+…$/);
    expect(line?.text).toHaveLength(1000);
  });

  test.each([499, 500, 501, 10_000])('of %i lines is bounded, and keeps its begin and its end', (count) => {
    const log = new JobLog();
    for (let number = 1; number <= count; number++) log.info(`line ${number}`);
    const texts = log.lines().map(({ text }) => text);
    expect(texts.length).toBeLessThanOrEqual(500);
    expect([texts[0], texts.at(-1)]).toEqual(['line 1', `line ${count}`]);
    const leftOut = count - 499;
    if (leftOut === 0) expect(texts).toHaveLength(499);
    else expect(texts[250]).toBe(`lines left out: ${leftOut}`);
  });
});
