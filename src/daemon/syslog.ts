import { lstatSync } from 'node:fs';
import { createSocket, type DatagramError } from 'unix-dgram';
import { printableLine } from '../mconsole/printable.js';

/** A failure as syslog takes it: RFC 3164, facility daemon. */
export interface SyslogLine {
  severity: 'critical' | 'error';
  at: Date;
  pid: number;
  text: string;
}

const facilityDaemon = 3;
const severityNumbers = { critical: 2, error: 3 } as const;
const maxBytes = 1024;
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/**
 * `<27>Nov 21 03:15:00 umlsnap[123]: text`, at most 1024 bytes, one line. The host's name is left out, as syslog(3) does:
 * who reads /dev/log knows it, and would take it for the program's.
 */
export function formatSyslog({ severity, at, pid, text }: SyslogLine): Buffer {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = String(at.getDate()).padStart(2, ' ');
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const head = `<${facilityDaemon * 8 + severityNumbers[severity]}>${months[at.getMonth()]} ${day} ${time} umlsnap[${pid}]: `;
  const line = Buffer.from(head + printableLine(text));
  // Not in the middle of a character: what is left of it would be none.
  return line.length <= maxBytes
    ? line
    : Buffer.from(line.toString('utf8', 0, maxBytes - 3).replace(/\ufffd$/, ''));
}

/**
 * Hands one datagram to the syslog that listens at `path`; quietly nothing where there is none, or where it is busy: no
 * log is worth a daemon that stands still. The socket is made for each, as one that stays would keep the process alive.
 */
export function sendToSyslog(datagram: Buffer, path = '/dev/log'): void {
  try {
    if (!lstatSync(path, { throwIfNoEntry: false })) return;
    const socket = createSocket('unix_dgram');
    const ignore = (_: DatagramError | undefined) => {};
    socket.on('error', ignore);
    socket.send(datagram, 0, datagram.length, path, ignore);
    socket.close();
  } catch (error) {
    // No file descriptor is left, or we may not look: stderr has the same line.
    if (!(error instanceof Error && 'code' in error)) throw error;
  }
}

/** A stream for pino that hands on what is an error or worse, with its facts behind it. */
export function syslogStream(path?: string): { write(line: string): void } {
  return {
    write(line) {
      const { level, time, msg, ...facts } = JSON.parse(line) as Record<string, unknown>;
      const severity = Number(level) >= 60 ? 'critical' : 'error';
      const text = [msg, ...Object.entries(facts).flatMap(textOf)].join(' ');
      const at = typeof time === 'string' ? new Date(time) : new Date();
      sendToSyslog(formatSyslog({ severity, at, pid: process.pid, text }), path);
    },
  };
}

function textOf([key, value]: [string, unknown]): string[] {
  if (value === null || value === undefined || Array.isArray(value)) return [];
  if (typeof value !== 'object') return [`${key}=${value}`];
  const { code, message } = value as { code?: unknown; message?: unknown };
  return [code, message].every((part) => typeof part === 'string') ? [`${key}=${code}: ${message}`] : [];
}
