import koffi from 'koffi';
import { getSystemErrorName } from 'node:util';

const libc = koffi.load(null);
const pointer = 'void *';
const vector = koffi.struct('test_iovec', { base: pointer, length: 'size_t' });
const message = koffi.struct('test_msghdr', {
  ...{ name: pointer, nameLength: 'uint32_t', vectors: koffi.pointer(vector), vectorCount: 'size_t' },
  ...{ control: pointer, controlLength: 'size_t', flags: 'int' },
});
export const openSocket = libc.func('int socket(int domain, int type, int protocol)');
export const connect = libc.func('int connect(int fd, void *address, unsigned int length)');
const sendmsg = libc.func('sendmsg', 'int64_t', ['int', koffi.pointer(message), 'int']);
export const close = libc.func('int close(int fd)');

const types = { stream: 1, datagram: 2 };

/** Sends one byte to a unix socket, and a descriptor with it. @returns `sent`, or the name of the error */
export function sendDescriptor(type: keyof typeof types, path: string, sentFd = 0): string {
  const fd = openSocket(1, types[type], 0);
  try {
    const address = Buffer.alloc(110);
    address.writeUInt16LE(1, 0);
    address.write(path, 2);
    if (connect(fd, address, address.length) !== 0) return getSystemErrorName(-koffi.errno());
    // struct cmsghdr: length, SOL_SOCKET, SCM_RIGHTS, descriptor.
    const control = Buffer.alloc(24);
    control.writeBigUInt64LE(20n, 0);
    control.writeInt32LE(1, 8);
    control.writeInt32LE(1, 12);
    control.writeInt32LE(sentFd, 16);
    const vectors = [{ base: Buffer.from('x'), length: 1 }];
    const head = { name: null, nameLength: 0, vectors, vectorCount: 1 };
    const sent = sendmsg(fd, { ...head, control, controlLength: control.length, flags: 0 }, 0);
    return Number(sent) === 1 ? 'sent' : getSystemErrorName(-koffi.errno());
  } finally {
    close(fd);
  }
}
