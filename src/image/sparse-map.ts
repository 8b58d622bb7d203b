import { seekData, seekHole } from './linux-calls.js';

/** A stretch of a file that holds data. Offsets and lengths in bytes. */
export interface Extent {
  offset: number;
  length: number;
}

/**
 * The stretches of the file that are not holes, in order, by SEEK_DATA and SEEK_HOLE: these see data that is still dirty
 * in the page cache over preallocated space, which FIEMAP without a sync does not. On a file system that knows no holes
 * it is one stretch. Only what lies between `from` and `end` is looked at. Blocking, though each step is short: for workers and children.
 */
export function* dataExtents(fd: number, end: number, from = 0): Generator<Extent> {
  let position = from;
  while (position < end) {
    const start = nextData(fd, position);
    if (start === null || start >= end) return;
    // null: the file has shrunk below `start` meanwhile; whoever reads there is told.
    position = Math.min(nextHole(fd, start) ?? end, end);
    yield { offset: start, length: position - start };
  }
}

/** Where data begins at or after `offset`, null for none; a file system that knows no holes has data everywhere. */
export function nextData(fd: number, offset: number): number | null {
  try {
    return seekData(fd, offset);
  } catch (error) {
    if (isUnsupported(error)) return offset;
    throw error;
  }
}

/** Where the next hole begins; null at or beyond the end, or on a file system that knows none. */
export function nextHole(fd: number, offset: number): number | null {
  try {
    return seekHole(fd, offset);
  } catch (error) {
    if (isUnsupported(error)) return null;
    throw error;
  }
}

function isUnsupported(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'EINVAL' || code === 'ENOTSUP';
}
