import type { Socket } from 'node:net';
import koffi from 'koffi';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

const getsockopt = koffi
  .load(null)
  .func('int getsockopt(int fd, int level, int option, void *value, void *length)');

/** The process at the other end of a unix socket, in the kernel's own words; null when the connection is gone. */
export function peerPid(socket: Socket): number | null {
  // Node has no other way to the descriptor.
  const fd = (socket as unknown as { _handle?: { fd?: unknown } | null })._handle?.fd;
  if (typeof fd !== 'number' || fd < 0) return null;
  const credentials = Buffer.alloc(12);
  const length = Buffer.alloc(4);
  new DataView(length.buffer, length.byteOffset).setUint32(0, credentials.length, isLittleEndian);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0) return null;
  return new DataView(credentials.buffer, credentials.byteOffset).getInt32(0, isLittleEndian);
}

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
