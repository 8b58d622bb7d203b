import { getSystemErrorName } from 'node:util';
import type { DatagramError } from 'unix-dgram';

/** `EAGAIN`, from the number that unix-dgram gives. */
export function errnoNameOf(error: DatagramError): string {
  return getSystemErrorName(error.code);
}
