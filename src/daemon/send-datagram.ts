import koffi from 'koffi';
import { lastError } from '../image/last-error.js';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** `sun_path` of struct sockaddr_un. */
const maxAddressBytes = 108;

const libc = koffi.load(null);
const socket = libc.func('int socket(int domain, int type, int protocol)');
const sendto = libc.func(
  'int64_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
);
const close = libc.func('int close(int fd)');

/**
 * Sends one datagram to a unix socket, and never waits. The address is a path, or `@NAME` for an abstract one, which
 * unix-dgram can't send to.
 * @throws Error of Node's kind with the `code` of what the kernel said; ENAMETOOLONG
 */
export function sendDatagram(address: string, data: Buffer): void {
  const sockaddr = socketAddress(address);
  const fd: number = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd === -1) throw lastError('socket');
  try {
    const sent = sendto(fd, data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL, sockaddr, sockaddr.length);
    if (Number(sent) === -1) throw lastError('sendto');
  } finally {
    close(fd);
  }
}

/** An abstract name is as long as the address says; a path ends with a zero. */
function socketAddress(address: string): Buffer {
  const name = Buffer.from(address.startsWith('@') ? `\0${address.slice(1)}` : `${address}\0`);
  if (name.length > maxAddressBytes) {
    throw Object.assign(new Error(`${address} is too long for a socket`), { code: 'ENAMETOOLONG' });
  }
  const family = Buffer.alloc(2);
  new Uint16Array(family.buffer, family.byteOffset, 1)[0] = AF_UNIX;
  return Buffer.concat([family, name]);
}
