import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeReply, encodeRequest } from '../../src/mconsole/packet.js';

const commands = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 511 })
  .filter((text) => !text.includes('\0') && Buffer.byteLength(text) <= 511);

function reply(err: number, more: number, lengthBytes: number, data: Uint8Array): Buffer {
  const header = Buffer.alloc(12);
  header.writeInt32LE(err, 0);
  header.writeUInt32LE(more, 4);
  header.writeUInt32LE(lengthBytes, 8);
  return Buffer.concat([header, data]);
}

test('a request has its full size, whatever its length, so that no guest repeats its previous command', () => {
  fc.assert(
    fc.property(commands, (command) => {
      const datagram = encodeRequest(command);
      const lengthBytes = datagram.readUInt32LE(8);
      expect(datagram.length).toBe(524);
      expect([datagram.readUInt32LE(0), datagram.readUInt32LE(4)]).toEqual([0xcafebabe, 2]);
      expect(datagram.subarray(12, 12 + lengthBytes)).toEqual(Buffer.from(command));
      expect(datagram.subarray(12 + lengthBytes).every((byte) => byte === 0)).toBe(true);
    }),
  );
});

test('the longest command that a guest takes is sent', () => {
  expect(encodeRequest('x'.repeat(511)).readUInt32LE(8)).toBe(511);
});

test.each([
  ['one byte longer', 'x'.repeat(512), 'RequestTooLarge'],
  ['longer in bytes, not in characters', 'é'.repeat(256), 'RequestTooLarge'],
  ['empty', '', 'Usage'],
  ['one that would be cut at a NUL', 'stop\0go', 'Usage'],
])('a command that is %s is refused', (_, command, code) => {
  expect(() => encodeRequest(command)).toThrow(expect.objectContaining({ code }));
});

test('a reply comes back as it was, with a negative error as a negative number', () => {
  const errors = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(errors, fc.boolean(), fc.uint8Array({ maxLength: 511 }), (err, more, text) => {
      const datagram = reply(err, more ? 1 : 0, text.length + 1, Buffer.concat([text, Buffer.alloc(1)]));
      expect(decodeReply(datagram)).toEqual({ kind: 'reply', err, more, text: Buffer.from(text) });
    }),
  );
});

test.each([
  ['exactly one NUL is taken off, so that a text which ends in NULs keeps its own', 3, 'a\0\0', 'a\0'],
  ['what lies behind the data of a datagram is not taken for data', 2, 'a\0behind', 'a'],
])('%s', (_, lengthBytes, data, text) => {
  expect(decodeReply(reply(0, 0, lengthBytes, Buffer.from(data)))).toMatchObject({ text: Buffer.from(text) });
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
  ['a whole datagram of zeros', Buffer.alloc(524)],
  ['nothing', Buffer.alloc(0)],
  ['half a header', Buffer.alloc(7)],
  ['a length that the datagram does not have', reply(0, 0, 9, Buffer.from('stopped\0'))],
  ['a huge length', reply(0, 0, 0xffffffff, Buffer.from('stopped\0'))],
  ['a more that is neither 0 nor 1', reply(0, 2, 8, Buffer.from('stopped\0'))],
  ['a text without its NUL', reply(0, 0, 7, Buffer.from('stopped'))],
  ['a datagram over the limit', reply(0, 0, 513, Buffer.alloc(513))],
])('%s is malformed', (_, datagram) => {
  expect(decodeReply(datagram).kind).toBe('malformed');
});

test('the raw text of a guest that does not know our version is named as that', () => {
  const text = 'ERR Version 0 mconsole clients are not supported by this driver';
  expect(decodeReply(Buffer.from(text))).toMatchObject({
    problem: expect.stringContaining('another version'),
  });
});
