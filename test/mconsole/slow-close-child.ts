import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import koffi from 'koffi';
import { createSocket } from 'unix-dgram';
import { breakOffCloses } from '../../src/mconsole/refuse-descriptors.js';
import { close, connect, openSocket, sendDescriptor } from './send-descriptor.js';

/**
 * Hears a datagram with the last descriptor of a TCP socket that lingers for an hour, as a kernel before 6.16 lets it in, and ends.
 * Arguments: a path for the socket
 */

const libc = koffi.load(null);
const send = libc.func('int64_t send(int fd, void *buffer, size_t length, int flags)');
const setsockopt = libc.func(
  'int setsockopt(int fd, int level, int option, void *value, unsigned int length)',
);
const getitimer = libc.func('int getitimer(int which, void *value)');
const [AF_INET, SOCK_STREAM, SOL_SOCKET, SO_LINGER, MSG_DONTWAIT] = [2, 1, 1, 13, 0x40];

/** Its peer never reads what it has sent. */
async function openLingering(): Promise<number> {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt16BE((server.address() as AddressInfo).port, 2);
  address.set([127, 0, 0, 1], 4);
  const fd = openSocket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, address, address.length) !== 0) throw new Error('no connection');
  const bytes = Buffer.alloc(65_536);
  while (Number(send(fd, bytes, bytes.length, MSG_DONTWAIT)) > 0);
  setsockopt(fd, SOL_SOCKET, SO_LINGER, Buffer.from(new Int32Array([1, 3600]).buffer), 8);
  return fd;
}

const [, , path = ''] = process.argv;
breakOffCloses();
const socket = createSocket('unix_dgram');
socket.bind(path);
const fd = await openLingering();
socket.on('message', () =>
  setImmediate(() => {
    console.log('goes on');
    process.exit();
  }),
);
process.on('exit', () => {
  const timer = Buffer.alloc(32);
  getitimer(0, timer);
  if (timer.equals(Buffer.alloc(32))) console.log('without a timer');
});
console.log(sendDescriptor('datagram', path, fd));
// From now on the datagram has the only one.
close(fd);
