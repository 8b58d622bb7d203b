import { endianness } from 'node:os';
import { printable } from './printable.js';

/** What a guest says by itself on the socket of `mconsole=notify:PATH` (uml-facts §7). All of it is untrusted. */
export type Notification =
  /** Sent once while it boots: where its mconsole socket is. A hint, never an authority. */
  | { type: 'booted'; socketPath: string }
  | { type: 'panic'; text: string }
  /** By uml_watchdog, for a guest that no longer pings it. */
  | { type: 'hang'; text: string }
  /** One write to /proc/mconsole in the guest. */
  | { type: 'message'; text: string };

export type DecodedNotification = Notification | { type: 'malformed'; problem: string };

/** A kernel sends at most this: a header of 16 bytes (20 from a watchdog), and 512 of data. */
export const maxNotificationBytes = 532;

const magic = 0xcafebabe;
const version = 2;
const maxDataBytes = 512;
const isLittleEndian = endianness() === 'LE';
const typesByNumber = ['booted', 'panic', 'hang', 'message'] as const;

/** Reads one datagram of a notify socket. Its text comes back harmless for a terminal, and of at most 512 characters. */
export function decodeNotification(datagram: Buffer): DecodedNotification {
  if (datagram.length < 16) return malformed(`a datagram of only ${datagram.length} bytes`);
  const header = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const headerBytes = headerBytesOf(header);
  if (headerBytes === undefined) return malformed('a header that is none of a notification');
  const type = typesByNumber[header.getUint32(headerBytes - 8, isLittleEndian)];
  if (type === undefined) return malformed('a notification of an unknown type');
  const lengthBytes = header.getUint32(headerBytes - 4, isLittleEndian);
  if (lengthBytes > maxDataBytes || lengthBytes > datagram.length - headerBytes) {
    return malformed(`a length of ${lengthBytes} in a datagram of ${datagram.length} bytes`);
  }
  const text = printable(textOf(datagram.subarray(headerBytes, headerBytes + lengthBytes)));
  return type === 'booted' ? { type, socketPath: text } : { type, text };
}

/** uml_watchdog is a program of its own, and on 64 bits its magic number has 8 bytes. */
function headerBytesOf(header: DataView): 16 | 20 | undefined {
  const word = (offset: number) => header.getUint32(offset, isLittleEndian);
  if (word(0) === magic && word(4) === version) return 16;
  if (header.byteLength < 20 || word(8) !== version) return undefined;
  return header.getBigUint64(0, isLittleEndian) === BigInt(magic) ? 20 : undefined;
}

/** Up to its NUL, if it has one. */
function textOf(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('utf8', 0, end === -1 ? data.length : end);
}

function malformed(problem: string): DecodedNotification {
  return { type: 'malformed', problem };
}
