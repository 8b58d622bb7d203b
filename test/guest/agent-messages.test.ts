import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatOrder, parseAnswer } from '../../src/guest/agent/agent-messages.js';

test('an order fits into one mconsole request, however long its words are', () => {
  const nonce = 'f'.repeat(24);
  const run = '12345678-1234-1234-1234-123456789012';
  const job = '20261121T031500Z-7f3a2c';
  const limits = { limitSeconds: 3600, timerSeconds: 86_415 };
  const freeze = formatOrder({ order: 'freeze', nonce, run, job, ...limits });
  expect(freeze).toBe(`umlsnap agent 1 freeze nonce=${nonce} run=${run} job=${job} limit=3600 timer=86415`);
  expect(Buffer.byteLength(`log ${freeze}\n`)).toBeLessThan(300);
});

describe('an answer', () => {
  const nonce = 'n';
  const failed = { hook: '10-db', exit: 1, text: 'no such file' };
  const inUse = { why: 'filesystem', text: '/data: in use' };
  const late = { hook: '10-db', exit: 'late', text: '' };
  test.each([
    ['pong', 'run=12345678-ab', { run: '12345678-ab' }],
    ['frozen', 'at=/data,/', { filesystems: ['/data', '/'] }],
    ['frozen', 'at=', { filesystems: [] }],
    ['thawed', 'held=yes', { held: 'yes' }],
    ['thawed', 'held=no', { held: 'no' }],
    ['thawed', 'held=unknown', { held: 'unknown' }],
    ['after', 'ok=yes', { failed: null }],
    ['after', 'hook=10-db exit=1 text=no such file', { failed }],
    ['timer', '', {}],
    ['drilled', 'ok=2', { outcome: { ran: 2 } }],
    ['drilled', 'hook=10-db exit=1 text=no such file', { outcome: { failed } }],
    ['refused', 'why=hook hook=10-db exit=late text=', { refusal: { why: 'hook', ...late } }],
    ['refused', 'why=filesystem text=/data: in use', { refusal: inUse }],
    ['refused', 'why=late text=/', { refusal: { why: 'late', text: '/' } }],
  ])('is read: %s %s', (said, words, facts) => {
    expect(parseAnswer(`umlsnap agent 1 ${said} nonce=n ${words}`.trim())).toEqual({ said, nonce, ...facts });
  });

  test('of a newer agent is told as such, and of no protocol is none', () => {
    expect(parseAnswer('umlsnap agent 2 pong nonce=n future=words')).toEqual({ said: 'tooNew', nonce });
    expect(parseAnswer('umlsnap agent 0 pong nonce=n run=12345678')).toBeUndefined();
  });

  test.each([
    ...['', 'umlsnap', 'umlsnap agent 1 frozen', 'umlsnap agent 1 frozen at=/'],
    ...['umlsnap agent 1 thawed nonce=n held=maybe', 'umlsnap agent 1 thawed nonce=n held=yes held=no'],
    ...['x umlsnap agent 1 thawed nonce=n held=yes', 'umlsnap agent 1 pong nonce=n run=$(reboot)'],
    ...['umlsnap agent 1 refused nonce=n why=mood text=x', 'umlsnap agent 1 refused nonce=n why=hook text=x'],
    'umlsnap request type=snapshot id=42',
  ])('is not seen in: %s', (message) => {
    expect(parseAnswer(message)).toBeUndefined();
  });

  test('can be anything, and is read without an exception', () => {
    const starts = fc.constantFrom('', 'umlsnap agent 1 refused nonce=n ', 'umlsnap agent 1 ');
    fc.assert(fc.property(fc.string(), starts, (text, start) => void parseAnswer(start + text)));
  });
});
