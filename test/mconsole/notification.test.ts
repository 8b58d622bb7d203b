import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeNotification, type Notification } from '../../src/mconsole/notification.js';
import { notificationDatagram } from './notification-datagrams.js';

const path = '/root/.uml/debian/mconsole';
/** As uml_watchdog sends it: its magic number has 8 bytes. */
const ofWatchdog = Buffer.from(
  notificationDatagram(2, 'hung').toString('hex').replace(/^.{8}/, '$&00000000'),
  'hex',
);

test.each<[string, Buffer, Notification]>([
  ['a boot', notificationDatagram(0, `${path}\0`), { type: 'booted', socketPath: path }],
  ['a panic', notificationDatagram(1, 'VFS: no root'), { type: 'panic', text: 'VFS: no root' }],
  ['a message', notificationDatagram(3, 'hello\n'), { type: 'message', text: 'hello\n' }],
  ['a hang', notificationDatagram(2, 'x'), { type: 'hang', text: 'x' }],
  ['a hang told by a watchdog', ofWatchdog, { type: 'hang', text: 'hung' }],
])('%s is understood as what it is', (_, datagram, notification) => {
  expect(decodeNotification(datagram)).toEqual(notification);
});

/** A message with one word of its header changed: magic number, version, type or length. */
function messageWith(word: number, offset: 0 | 4 | 8 | 12): Buffer {
  const datagram = notificationDatagram(3, 'short');
  datagram.writeUInt32LE(word, offset);
  return datagram;
}

test.each([
  ['a length beyond the datagram', messageWith(6, 12)],
  ['a huge length', messageWith(0xffffffff, 12)],
  ['a length beyond the protocol', notificationDatagram(3, 'x'.repeat(513))],
  ['an unknown type', messageWith(4, 8)],
  ['another version', messageWith(1, 4)],
  ['another magic number', messageWith(1, 0)],
])('%s is malformed, and nothing of it is read', (_, datagram) => {
  expect(decodeNotification(datagram).type).toBe('malformed');
});

test('whatever bytes come, they are decoded without an exception, and to a bounded text', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 700 }), fc.boolean(), (bytes, isPlausible) => {
      const start = isPlausible ? notificationDatagram(3, '').subarray(0, 8) : Buffer.alloc(0);
      const decoded = decodeNotification(Buffer.concat([start, bytes]));
      expect(JSON.stringify(decoded).length).toBeLessThan(2000);
    }),
  );
});
