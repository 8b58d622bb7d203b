import { endianness } from 'node:os';
import { UmlsnapError } from '../errors.js';

/** Longest command that a guest takes, in bytes: one of 512 gets `Request too large` (uml-facts §1). */
export const maxCommandBytes = 511;
/** The size of a reply that is full: a header of 12 bytes and 512 of data. */
export const maxReplyBytes = 524;

const requestBytes = 524;
const headerBytes = 12;
const magic = 0xcafebabe;
const version = 2;
/** The protocol is in the byte order of the machine, which guest and host share. */
const isLittleEndian = endianness() === 'LE';

export type DecodedReply =
  | { kind: 'reply'; err: number; more: boolean; text: Buffer }
  | { kind: 'malformed'; problem: string };

/**
 * The datagram of a request. It always has the full size, as `uml_mconsole` sends it: a guest that gets one cut short
 * executes its previous command again (uml-facts §1).
 * @throws RequestTooLarge, and Usage for a command that is empty or holds a NUL
 */
export function encodeRequest(command: string): Buffer {
  const lengthBytes = Buffer.byteLength(command);
  if (lengthBytes === 0) throw new UmlsnapError('Usage', { problem: 'the mconsole command is empty' });
  if (command.includes('\0'))
    throw new UmlsnapError('Usage', { problem: 'the mconsole command holds a NUL' });
  if (lengthBytes > maxCommandBytes) {
    throw new UmlsnapError('RequestTooLarge', { lengthBytes, maxBytes: maxCommandBytes });
  }
  const datagram = Buffer.alloc(requestBytes);
  const header = viewOf(datagram);
  header.setUint32(0, magic, isLittleEndian);
  header.setUint32(4, version, isLittleEndian);
  header.setUint32(8, lengthBytes, isLittleEndian);
  datagram.write(command, headerBytes);
  return datagram;
}

/**
 * Reads one datagram of a reply; `text` is without its closing NUL. A guest is not trusted: whatever no UML kernel
 * sends is malformed, above all a header of zeros, which would otherwise read as success. Bytes after the data are
 * let pass.
 */
export function decodeReply(datagram: Buffer): DecodedReply {
  if (datagram.length > maxReplyBytes) return malformed(`a datagram of more than ${maxReplyBytes} bytes`);
  if (datagram.subarray(0, 11).equals(Buffer.from('ERR Version'))) {
    return malformed('the guest took our request for one of another version of the protocol');
  }
  if (datagram.length <= headerBytes) return malformed(`a datagram of only ${datagram.length} bytes`);
  const header = viewOf(datagram);
  const more = header.getUint32(4, isLittleEndian);
  const lengthBytes = header.getUint32(8, isLittleEndian);
  if (more > 1) return malformed(`a header with more = ${more}`);
  if (lengthBytes === 0 || lengthBytes > datagram.length - headerBytes) {
    return malformed(`a length of ${lengthBytes} in a datagram of ${datagram.length} bytes`);
  }
  const end = headerBytes + lengthBytes - 1;
  if (datagram[end] !== 0) return malformed('a text that does not end in NUL');
  const text = datagram.subarray(headerBytes, end);
  return { kind: 'reply', err: header.getInt32(0, isLittleEndian), more: more === 1, text };
}

function malformed(problem: string): DecodedReply {
  return { kind: 'malformed', problem };
}

function viewOf(datagram: Buffer): DataView {
  return new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
}
