import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeNotification } from '../../src/mconsole/notification.js';
import { notificationDatagram, watchdogDatagram } from './notification-datagrams.js';

test('what the kernel sends is understood, each type as what it is', () => {
  expect(decodeNotification(notificationDatagram(0, '/root/.uml/debian/mconsole\0'))).toEqual({
    type: 'booted',
    socketPath: '/root/.uml/debian/mconsole',
  });
  expect(decodeNotification(notificationDatagram(1, 'VFS: no root'))).toEqual({
    type: 'panic',
    text: 'VFS: no root',
  });
  expect(decodeNotification(notificationDatagram(3, 'hello\n'))).toEqual({
    type: 'message',
    text: 'hello\n',
  });
});

test('a hang is understood from the kernel and from a watchdog, whose magic number is wider', () => {
  expect(decodeNotification(notificationDatagram(2, 'x'))).toEqual({ type: 'hang', text: 'x' });
  expect(decodeNotification(watchdogDatagram(2, 'hung'))).toEqual({ type: 'hang', text: 'hung' });
});

test('no escape sequence and no character that hides others reaches a terminal', () => {
  const hostile = '\x1b[2J\x1b]0;owned\x07ok\u202e\x9b31m';
  expect(decodeNotification(notificationDatagram(3, hostile))).toEqual({ type: 'message', text: 'ok' });
});

test('a length beyond the datagram or the protocol is malformed, and reads nothing behind it', () => {
  const lying = notificationDatagram(3, 'short');
  lying.writeUInt32LE(6, 12);
  expect(decodeNotification(lying).type).toBe('malformed');
  lying.writeUInt32LE(0xffffffff, 12);
  expect(decodeNotification(lying).type).toBe('malformed');
  expect(decodeNotification(notificationDatagram(3, 'x'.repeat(513))).type).toBe('malformed');
});

test('an unknown type, another version and another magic number are malformed', () => {
  expect(decodeNotification(notificationDatagram(4, 'x')).type).toBe('malformed');
  for (const offset of [0, 4]) {
    const other = notificationDatagram(3, 'x');
    other.writeUInt32LE(1, offset);
    expect(decodeNotification(other).type).toBe('malformed');
  }
});

test('whatever bytes come, they are decoded without an exception, and to a bounded text', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 700 }), fc.boolean(), (bytes, isPlausible) => {
      const tail = Buffer.from(bytes);
      const decoded = decodeNotification(
        isPlausible ? Buffer.concat([notificationDatagram(3, '').subarray(0, 8), tail]) : tail,
      );
      expect(JSON.stringify(decoded).length).toBeLessThan(2000);
    }),
  );
});
