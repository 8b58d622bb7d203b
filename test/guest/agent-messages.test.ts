import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatOrder, parseAnswer } from '../../src/guest/agent/agent-messages.js';

describe('an order', () => {
  test('fits into one mconsole request, however long its words are', () => {
    const nonce = 'f'.repeat(24);
    const run = '12345678-1234-1234-1234-123456789012';
    const job = '20261121T031500Z-7f3a2c';
    const freeze = formatOrder({
      order: 'freeze',
      nonce,
      run,
      job,
      limitSeconds: 3600,
      timerSeconds: 86_415,
    });
    expect(freeze).toBe(`umlsnap agent 1 freeze nonce=${nonce} run=${run} job=${job} limit=3600 timer=86415`);
    expect(Buffer.byteLength(`log ${freeze}\n`)).toBeLessThan(300);
  });
});

describe('an answer', () => {
  test('is read in each of its forms', () => {
    const answers = [
      'pong nonce=n run=12345678-ab',
      'frozen nonce=n at=/data,/',
      'frozen nonce=n at=',
      'thawed nonce=n held=yes',
      'thawed nonce=n held=no',
      'thawed nonce=n held=unknown',
      'after nonce=n ok=yes',
      'after nonce=n hook=10-db exit=1 text=no such file',
      'timer nonce=n',
      'drilled nonce=n ok=2',
      'drilled nonce=n hook=10-db exit=7 text=not all tables are there',
      'refused nonce=n why=hook hook=10-db exit=late text=',
      'refused nonce=n why=filesystem text=/data: Device or resource busy',
      'refused nonce=n why=late text=/',
    ];
    const nonce = 'n';
    expect(answers.map((text) => parseAnswer(`umlsnap agent 1 ${text}`))).toEqual([
      { said: 'pong', nonce, run: '12345678-ab' },
      { said: 'frozen', nonce, filesystems: ['/data', '/'] },
      { said: 'frozen', nonce, filesystems: [] },
      { said: 'thawed', nonce, held: 'yes' },
      { said: 'thawed', nonce, held: 'no' },
      { said: 'thawed', nonce, held: 'unknown' },
      { said: 'after', nonce, failed: null },
      { said: 'after', nonce, failed: { hook: '10-db', exit: 1, text: 'no such file' } },
      { said: 'timer', nonce },
      { said: 'drilled', nonce, outcome: { ran: 2 } },
      {
        ...{ said: 'drilled', nonce },
        outcome: { failed: { hook: '10-db', exit: 7, text: 'not all tables are there' } },
      },
      { said: 'refused', nonce, refusal: { why: 'hook', hook: '10-db', exit: 'late', text: '' } },
      { said: 'refused', nonce, refusal: { why: 'filesystem', text: '/data: Device or resource busy' } },
      { said: 'refused', nonce, refusal: { why: 'late', text: '/' } },
    ]);
  });

  test('of a newer agent is told as such, and of no protocol is none', () => {
    expect(parseAnswer('umlsnap agent 2 pong nonce=n future=words')).toEqual({ said: 'tooNew', nonce: 'n' });
    expect(parseAnswer('umlsnap agent 0 pong nonce=n run=12345678')).toBeUndefined();
  });

  test.each([
    ['', 'umlsnap', 'umlsnap agent 1 frozen', 'umlsnap agent 1 frozen at=/'],
    ['umlsnap agent 1 thawed nonce=n held=maybe', 'umlsnap agent 1 thawed nonce=n held=yes held=no'],
    ['x umlsnap agent 1 thawed nonce=n held=yes', 'umlsnap agent 1 pong nonce=n run=$(reboot)'],
    ['umlsnap agent 1 refused nonce=n why=mood text=x', 'umlsnap agent 1 refused nonce=n why=hook text=x'],
    ['umlsnap request type=snapshot id=42'],
  ])('is not seen in what is none', (...messages) => {
    expect(messages.map(parseAnswer)).toEqual(messages.map(() => undefined));
  });

  test('can be anything, and is read without an exception', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.constantFrom('', 'umlsnap agent 1 refused nonce=n ', 'umlsnap agent 1 '),
        (text, start) => {
          parseAnswer(start + text);
        },
      ),
    );
  });
});
