import type { CopyExtent } from './copy-extents.js';
import { punchHole } from './linux-calls.js';
import { type Extent, nextData, nextHole } from './sparse-map.js';
import { writeFully } from './sparse-pass.js';

/** A source and its copy that already has its size; descriptors of the whole process. */
export interface ImagePair {
  sourceFd: number;
  targetFd: number;
}

/**
 * What becomes of a hole where the copy has data: a hole as well, or zeros, which take room, where it is small. Before a file
 * system makes a hole, it writes out what is dirty there (half a millisecond each, seen on ext4): that is how long zeros for a
 * large one take, and too long for many small ones while a guest stands still.
 */
export type HolesBecome = 'holes' | 'zeros';

const largeHoleBytes = 1024 * 1024;

const zeros = Buffer.alloc(64 * 1024);

/**
 * Makes the stretch of the copy equal to the source's, in steps of the source's own map. Blocking. Beyond the end of a source
 * that became shorter there is a hole: whoever calls MUST look at its size.
 * @returns how many bytes of data were copied
 */
export function copyRange(
  { sourceFd, targetFd }: ImagePair,
  copyExtent: CopyExtent,
  { offset, length }: Extent,
  holesBecome: HolesBecome = 'holes',
): number {
  const end = offset + length;
  let position = offset;
  let dataBytes = 0;
  while (position < end) {
    const data = Math.min(nextData(sourceFd, position) ?? end, end);
    if (data > position) makeRangeHole(targetFd, position, data - position, holesBecome);
    if (data === end) break;
    position = Math.min(nextHole(sourceFd, data) ?? end, end);
    copyExtent({ offset: data, length: position - data });
    dataBytes += position - data;
  }
  return dataBytes;
}

/** Makes holes of what is data in the stretch; what is a hole there already costs a look. */
export function makeRangeHole(
  targetFd: number,
  offset: number,
  length: number,
  holesBecome: HolesBecome = 'holes',
): void {
  const end = offset + length;
  let position = offset;
  while (position < end) {
    const data = nextData(targetFd, position);
    if (data === null || data >= end) return;
    const dataEnd = Math.min(nextHole(targetFd, data) ?? end, end);
    const isLarge = dataEnd - data >= largeHoleBytes;
    if (holesBecome === 'zeros' && !isLarge) writeZeros(targetFd, data, dataEnd - data);
    else punchOrZero(targetFd, data, dataEnd - data);
    position = dataEnd;
  }
}

function punchOrZero(fd: number, offset: number, length: number): void {
  try {
    punchHole(fd, offset, length);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EOPNOTSUPP' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error;
    // NFS and kin know no holes; readers get the same.
    writeZeros(fd, offset, length);
  }
}

function writeZeros(fd: number, offset: number, length: number): void {
  const end = offset + length;
  for (let at = offset; at < end; at += zeros.length) {
    writeFully(fd, zeros.subarray(0, Math.min(zeros.length, end - at)), at);
  }
}
