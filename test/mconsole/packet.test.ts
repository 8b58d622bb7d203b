import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeReply, encodeRequest } from '../../src/mconsole/packet.js';
import { replyDatagram } from '../fixtures/reply-datagram.js';

test('a request has its full size, whatever its length, so that no guest repeats its previous command', () => {
  const commands = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 511 })
    .filter((text) => !text.includes('\0') && Buffer.byteLength(text) <= 511);
  fc.assert(
    fc.property(commands, (command) => {
      const datagram = encodeRequest(command);
      const lengthBytes = datagram.readUInt32LE(8);
      expect(datagram.length).toBe(524);
      expect([datagram.readUInt32LE(0), datagram.readUInt32LE(4)]).toEqual([0xcafebabe, 2]);
      expect(datagram.subarray(12, 12 + lengthBytes)).toEqual(Buffer.from(command));
      expect(datagram.subarray(12 + lengthBytes).every((byte) => byte === 0)).toBe(true);
    }),
    { examples: [['x'.repeat(511)]] },
  );
});

test.each([
  ['one byte longer than the longest', 'x'.repeat(512), 'RequestTooLarge'],
  ['longer in bytes, not in characters', 'é'.repeat(256), 'RequestTooLarge'],
  ['empty', '', 'Usage'],
  ['one that would be cut at a NUL', 'stop\0go', 'Usage'],
])('a command that is %s is refused', (_, command, code) => {
  expect(() => encodeRequest(command)).toThrow(expect.objectContaining({ code }));
});

test('a reply comes back as it was, with a negative error, and but for one NUL and what lies behind its data', () => {
  const errors = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const texts = fc.uint8Array({ maxLength: 511 });
  const rests = fc.uint8Array({ maxLength: 10 });
  fc.assert(
    fc.property(errors, fc.boolean(), texts, rests, (err, more, text, rest) => {
      const lengthBytes = text.length + 1;
      const data = Buffer.concat([text, Buffer.alloc(1), rest]).subarray(0, 512);
      const datagram = replyDatagram(data, { err, more: more ? 1 : 0, lengthBytes });
      expect(decodeReply(datagram)).toEqual({ kind: 'reply', err, more, text: Buffer.from(text) });
    }),
    // A text that ends in NULs keeps its own.
    { examples: [[0, false, Buffer.from('a\0'), Buffer.from('behind')]] },
  );
});

test('no datagram at all makes the decoder throw, or read past its end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 700 }), (bytes) => {
      const decoded = decodeReply(Buffer.from(bytes));
      if (decoded.kind === 'reply') expect(decoded.text.length).toBeLessThanOrEqual(bytes.length - 13);
    }),
  );
});

test.each([
  ['a header of zeros, which would read as success', Buffer.alloc(12)],
  ['nothing', Buffer.alloc(0)],
  ['half a header', Buffer.alloc(7)],
  ['a length of 0', replyDatagram('stopped\0', { lengthBytes: 0 })],
  ['a length that the datagram does not have', replyDatagram('stopped\0', { lengthBytes: 9 })],
  ['a huge length', replyDatagram('stopped\0', { lengthBytes: 0xffffffff })],
  ['a more that is neither 0 nor 1', replyDatagram('stopped\0', { more: 2 })],
  ['a text without its NUL', replyDatagram('stopped')],
  ['a datagram over the limit', replyDatagram(Buffer.alloc(513))],
])('%s is malformed', (_, datagram) => {
  expect(decodeReply(datagram).kind).toBe('malformed');
});

test('the raw text of a guest that does not know our version is named as that', () => {
  const text = 'ERR Version 0 mconsole clients are not supported by this driver';
  expect(decodeReply(Buffer.from(text))).toMatchObject({
    problem: expect.stringContaining('another version'),
  });
});
