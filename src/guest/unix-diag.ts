import { endianness } from 'node:os';
import koffi from 'koffi';

/**
 * The kernel's own list of bound datagram sockets (sock_diag(7), as `ss -x` asks for it). Unlike /proc/net/unix it tells
 * which file each is bound to, and a name with a newline in it can't forge an entry.
 */

/** A bound datagram socket of this host. */
export interface BoundSocket {
  /** The socket's own inode, as in `/proc/PID/fd/N -> socket:[INODE]`. */
  inode: number;
  /** As given to bind: maybe relative, and maybe long since the name of another file. */
  path: string;
  /** The lower 32 bits of the inode of the file that it is bound to; null where only its path is known. */
  fileInode: number | null;
}

const AF_UNIX = 1;
const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOCK_DGRAM = 2;
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST_DUMP = 0x301;
const NLMSG_DONE = 3;
const MSG_DONTWAIT = 0x40;
const UDIAG_SHOW_NAME_AND_FILE = 0x3;
const UNIX_DIAG_NAME = 0;
const UNIX_DIAG_VFS = 1;
const messageHeaderBytes = 16;
const diagHeaderBytes = 16;

/** @returns undefined where the kernel does not tell (its module is missing, a sandbox) */
export function dumpBoundSockets(): BoundSocket[] | undefined {
  if (endianness() !== 'LE') return undefined;
  const libc = koffi.load(null);
  const openSocket = libc.func('int socket(int domain, int type, int protocol)');
  const send = libc.func('int64_t send(int fd, void *data, size_t length, int flags)');
  const receive = libc.func('int64_t recv(int fd, _Out_ void *data, size_t length, int flags)');
  const close = libc.func('int close(int fd)');
  const fd = openSocket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return undefined;
  try {
    const request = dumpRequest();
    if (Number(send(fd, request, request.length, 0)) !== request.length) return undefined;
    const found: BoundSocket[] = [];
    const buffer = Buffer.alloc(64 * 1024);
    for (;;) {
      // A dump is made while it is read: nothing that would have to be waited for.
      const lengthBytes = Number(receive(fd, buffer, buffer.length, MSG_DONTWAIT));
      if (lengthBytes <= 0) return undefined;
      const isOver = readMessages(buffer.subarray(0, lengthBytes), found);
      if (isOver !== undefined) return isOver ? found : undefined;
    }
  } finally {
    close(fd);
  }
}

/** struct nlmsghdr, and struct unix_diag_req for all states. */
function dumpRequest(): Buffer {
  const request = Buffer.alloc(messageHeaderBytes + 24);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(SOCK_DIAG_BY_FAMILY, 4);
  request.writeUInt16LE(NLM_F_REQUEST_DUMP, 6);
  request.writeUInt8(AF_UNIX, 16);
  request.writeUInt32LE(0xffffffff, 20);
  request.writeUInt32LE(UDIAG_SHOW_NAME_AND_FILE, 28);
  return request;
}

/** @returns true at the dump's end, false at an error, undefined when more is to come */
function readMessages(messages: Buffer, found: BoundSocket[]): boolean | undefined {
  let offset = 0;
  while (offset + messageHeaderBytes <= messages.length) {
    const lengthBytes = messages.readUInt32LE(offset);
    const type = messages.readUInt16LE(offset + 4);
    if (type === NLMSG_DONE) return true;
    if (type !== SOCK_DIAG_BY_FAMILY || lengthBytes < messageHeaderBytes + diagHeaderBytes) return false;
    const socket = readSocket(messages.subarray(offset + messageHeaderBytes, offset + lengthBytes));
    if (socket) found.push(socket);
    offset += aligned(lengthBytes);
  }
  return undefined;
}

/** struct unix_diag_msg and its attributes. Abstract names begin with a NUL, and are no files. */
function readSocket(message: Buffer): BoundSocket | undefined {
  if (message.readUInt8(1) !== SOCK_DGRAM) return undefined;
  let path = '';
  let fileInode: number | null = null;
  let offset = diagHeaderBytes;
  while (offset + 4 <= message.length) {
    const lengthBytes = message.readUInt16LE(offset);
    const type = message.readUInt16LE(offset + 2);
    if (lengthBytes < 4) break;
    if (type === UNIX_DIAG_NAME) path = message.toString('utf8', offset + 4, offset + lengthBytes);
    if (type === UNIX_DIAG_VFS) fileInode = message.readUInt32LE(offset + 4);
    offset += aligned(lengthBytes);
  }
  path = path.replace(/\0+$/, '');
  if (path === '' || path.includes('\0')) return undefined;
  return { inode: message.readUInt32LE(4), path, fileInode };
}

const aligned = (lengthBytes: number): number => (lengthBytes + 3) & ~3;
