import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GuestGate, guestRate } from '../../src/daemon/guest-gate.js';
import { parseGuestLine } from '../../src/daemon/guest-line.js';
import { formatReply, maxReplyBytes } from '../../src/daemon/guest-reply.js';
import { takeToken } from '../../src/token-bucket.js';

const parse = (text: string) => parseGuestLine('debian', text);
const commandOf = (text: string) => {
  const line = parse(text);
  return line.is === 'request' ? line.request.command : line.is;
};

describe('a line from a guest', () => {
  test('is a request of the guest that it came from, with its id and its label', () => {
    const options = { labels: { request: 'before-upgrade' } };
    expect(parse('umlsnap request type=snapshot id=42 label=before-upgrade\n')).toEqual({
      ...{ is: 'request', name: 'snapshot' },
      request: {
        ...{ id: 42, number: 1, requester: { from: 'guest', guest: 'debian' } },
        command: { type: 'snapshot', guest: 'debian', options },
      },
    });
    expect(commandOf('umlsnap request type=4')).toEqual({ type: 'status', guest: 'debian' });
    expect(commandOf('umlsnap request type=cancel id=3 of=42')).toEqual({ type: 'cancel', of: 42 });
  });

  test('can only be about the guest that it came from', () => {
    const verify = (snapshot: string) => commandOf(`umlsnap request type=verify snapshot=${snapshot}`);
    expect(verify('latest')).toEqual({ type: 'verify', snapshot: 'debian@latest' });
    const named = 'debian@20261121T031500Z';
    expect(verify(named)).toEqual({ type: 'verify', snapshot: named });
    for (const stray of ['other@latest', '../other', 'debian@../other@latest', 'x'])
      expect(verify(stray)).toBe('malformed');
    expect(commandOf('umlsnap request type=snapshot guest=other')).toBe('malformed');
  });

  test.each([
    ...['', 'type=reboot', 'type=7', 'type=snapshot id=-1', 'type=snapshot id=99999999999'],
    ...['type=snapshot type=snapshot', 'type=snapshot label=a b=c d', 'type=snapshot  id=1'],
    ...['type=snapshot\numlsnap request type=prune', 'type=cancel of=0'],
    ...['type=snapshot label=\u001b[2J', 'type=snapshot label=käse'],
  ])('is dropped when it is not exactly as it should be: %j', (words) => {
    expect(parse(`umlsnap request ${words}`).is).toBe('malformed');
  });

  test('that is long may have been cut, and is no request', () => {
    expect(parse(`umlsnap request type=snapshot label=${'x'.repeat(500)}`)).toEqual({ is: 'tooLong' });
  });

  test('of the agent, or of anybody else, is left to them', () => {
    for (const text of ['umlsnap agent 1 pong nonce=x', 'hello', '', 'umlsnap requests']) {
      expect(parse(text)).toEqual({ is: 'other' });
    }
  });

  test('whatever it holds, is read without a throw', () => {
    const words = fc.stringMatching(/^umlsnap request ([a-z]{0,9}=?[^ ]{0,9} ?){0,6}$/u);
    fc.assert(fc.property(fc.oneof(words, fc.string()), (text) => parse(text).is !== undefined));
  });
});

describe('the gate of a guest', () => {
  test('lets through what is allowed, tells a guest what is not, and does not answer one that may ask for nothing', () => {
    const gate = new GuestGate('debian', 0);
    const take = (text: string, ...allowed: 'status'[]) => gate.take(`umlsnap ${text}`, allowed, 0);
    expect(take('request type=status id=1', 'status')).toMatchObject({ does: 'ask' });
    const because = { code: 'NotAllowed' };
    expect(take('request type=prune id=2', 'status')).toMatchObject({ does: 'refuse', id: 2, because });
    expect(take('agent 1 pong nonce=x run=y', 'status')).toEqual({ does: 'pass' });
    expect(take('request type=status id=1')).toEqual({ does: 'drop', why: 'notAllowed' });
  });

  test('lets so many through at once, then one each refill, whatever else was tried', () => {
    const gate = new GuestGate('debian', 0);
    const ask = (nowMs: number) => gate.take('umlsnap request type=status', ['status'], nowMs).does;
    const burst = Array.from({ length: guestRate.burst + 3 }, () => ask(0));
    expect(burst.filter((does) => does === 'ask')).toHaveLength(guestRate.burst);
    expect(burst.at(-1)).toBe('drop');
    expect(ask(guestRate.refillMs - 1)).toBe('drop');
    expect(ask(guestRate.refillMs)).toBe('ask');
    expect(ask(guestRate.refillMs)).toBe('drop');
  });

  test('tells what it dropped once a minute, all of it, and nothing when there was nothing', () => {
    const gate = new GuestGate('debian', 0);
    expect(gate.dropsToTell(0)).toBeUndefined();
    for (let count = 0; count < 10_000; count++) gate.take('umlsnap request garbage', ['status'], count);
    expect(gate.dropsToTell(10_000)).toEqual({ malformed: 10_000, tooLong: 0, tooFast: 0, notAllowed: 0 });
    gate.take(`umlsnap request ${'x'.repeat(480)}`, ['status'], 10_001);
    expect(gate.dropsToTell(69_999)).toBeUndefined();
    expect(gate.dropsToTell(70_000)).toMatchObject({ malformed: 0, tooLong: 1 });
    expect(gate.dropsToTell(200_000)).toBeUndefined();
  });

  test('a clock that stands still or goes back gives no tokens away', () => {
    const rate = { burst: 1, refillMs: 100 };
    const { bucket } = takeToken(rate, { tokens: 1, atMs: 1000 }, 1000);
    expect(takeToken(rate, bucket, 500).taken).toBe(false);
    expect(takeToken(rate, takeToken(rate, bucket, 500).bucket, 1099).taken).toBe(false);
    expect(takeToken(rate, takeToken(rate, bucket, 500).bucket, 1100).taken).toBe(true);
  });
});

test('the reply to a guest is one short line of plain words, whatever the answer holds', () => {
  const job = fc.string({ minLength: 300 });
  const values = fc.record({ snapshot: fc.string(), job, state: fc.string() });
  fc.assert(
    fc.property(values, (last) => {
      const line = formatReply({ id: 1, status: 0, output: [last] });
      expect(line).toMatch(/^umlsnap reply id=1 status=0( [a-z]+=[\x21-\x7e]*)*\n$/);
      expect(Buffer.byteLength(line)).toBeLessThanOrEqual(maxReplyBytes);
    }),
  );
});
