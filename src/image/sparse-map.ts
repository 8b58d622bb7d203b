import { seekData, seekHole } from './linux-calls.js';

/** A stretch of a file that holds data. Offsets and lengths in bytes. */
export interface Extent {
  offset: number;
  length: number;
}

/**
 * The stretches of the file that are not holes, in order, by SEEK_DATA and SEEK_HOLE: these see data that is still dirty
 * in the page cache over preallocated space, which FIEMAP without a sync does not. On a file system that knows no holes
 * it is one stretch. Only the first `sizeBytes` are looked at. Blocking, though each step is short: for workers and children.
 */
export function* dataExtents(fd: number, sizeBytes: number): Generator<Extent> {
  let position = 0;
  while (position < sizeBytes) {
    const start = nextData(fd, position);
    if (start === null || start >= sizeBytes) return;
    // null: the file has shrunk below `start` meanwhile; whoever reads there is told.
    const end = Math.min(nextHole(fd, start) ?? sizeBytes, sizeBytes);
    yield { offset: start, length: end - start };
    position = end;
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
