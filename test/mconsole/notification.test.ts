import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeNotification, type Notification } from '../../src/mconsole/notification.js';
import { notificationDatagram, watchdogDatagram } from './notification-datagrams.js';

const path = '/root/.uml/debian/mconsole';
// No escape sequence and no character that hides others reaches a terminal.
const hostile = '\x1b[2J\x1b]0;owned\x07ok\u202e\x9b31m';

test.each<[string, Buffer, Notification]>([
  ['a boot', notificationDatagram(0, `${path}\0`), { type: 'booted', socketPath: path }],
  ['a panic', notificationDatagram(1, 'VFS: no root'), { type: 'panic', text: 'VFS: no root' }],
  ['a message', notificationDatagram(3, 'hello\n'), { type: 'message', text: 'hello\n' }],
  ['a hang', notificationDatagram(2, 'x'), { type: 'hang', text: 'x' }],
  [
    'a hang told by a watchdog, whose magic number is wider',
    watchdogDatagram(2, 'hung'),
    { type: 'hang', text: 'hung' },
  ],
  [
    'a message to the terminal that shows it',
    notificationDatagram(3, hostile),
    { type: 'message', text: 'ok' },
  ],
])('%s is understood as what it is', (_, datagram, notification) => {
  expect(decodeNotification(datagram)).toEqual(notification);
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
