import { fstatSync } from 'node:fs';
import { type Stamp, toStamp } from '../image/open-disk.js';

/** The source as it is now; its name is not looked up, yet a file that was replaced has none left. */
export function lookAtSource(sourceFd: number, sizeBytes: number): { stamp: Stamp } | { problem: string } {
  const stat = fstatSync(sourceFd, { bigint: true });
  if (stat.nlink === 0n) return { problem: 'it was deleted or replaced by another file' };
  if (stat.size !== BigInt(sizeBytes)) {
    return { problem: `its size went from ${sizeBytes} to ${stat.size} bytes` };
  }
  return { stamp: toStamp(stat) };
}
