import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { dataExtents, type Extent } from './sparse-map.js';

/**
 * One pass over an image, extent by extent: the synchronous core of copying and hashing, for workers and children. Errors
 * are Node's: `syscall` tells the source (`read`, `lseek`, `fstat`) from the target (`write`, `ftruncate`).
 */

/** Big enough that system calls don't count, small enough to stay in the processor's cache between read and write. */
const chunkBytes = 1024 * 1024;

export interface PassVisitor {
  /** A stretch without data, before the next chunk or at the end. */
  hole(length: number): void;
  /** A piece of data; the buffer is used again for the next one. */
  data(chunk: Buffer, offset: number): void;
}

export interface Pass {
  sizeBytes: number;
  dataBytes: number;
}

/**
 * The file's size in bytes.
 * @throws EFBIG beyond 2^53 bytes: a sparse file of 8 EiB costs a hostile guest nothing, and no number here could hold it.
 */
export function fileSize(fd: number): number {
  const { size } = fstatSync(fd, { bigint: true });
  if (size <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(size);
  throw ioError('EFBIG', 'fstat', `a file of ${size} bytes is too large`);
}

/** Shows the whole file to the visitor, in order; holes are not read. The buffer is of the caller's making if given, and only the first `sizeBytes` are shown. */
export function passOver(
  fd: number,
  visitor: PassVisitor,
  buffer = Buffer.allocUnsafeSlow(chunkBytes),
  sizeBytes = fileSize(fd),
): Pass {
  let dataBytes = 0;
  let position = 0;
  for (const extent of dataExtents(fd, sizeBytes)) {
    if (extent.offset > position) visitor.hole(extent.offset - position);
    readExtent(fd, extent, buffer, visitor.data);
    position = extent.offset + extent.length;
    dataBytes += extent.length;
  }
  if (sizeBytes > position) visitor.hole(sizeBytes - position);
  return { sizeBytes, dataBytes };
}

/**
 * Makes the target a hole of this size. What it held is dropped, since a copy writes no holes; a file that is empty already is
 * not cut again, because ext4 takes that for an overwrite and writes all of it out at the close.
 */
export function makeHole(fd: number, sizeBytes: number): void {
  if (fileSize(fd) > 0) ftruncateSync(fd, 0);
  ftruncateSync(fd, sizeBytes);
}

/** A buffer for `readExtent`, with its pages in place. */
export function newBuffer(): Buffer {
  return Buffer.alloc(chunkBytes, 1);
}

/** Reads one extent, piece by piece. */
export function readExtent(fd: number, extent: Extent, buffer: Buffer, visit: PassVisitor['data']): void {
  const end = extent.offset + extent.length;
  let offset = extent.offset;
  while (offset < end) {
    const length = readSync(fd, buffer, 0, Math.min(buffer.length, end - offset), offset);
    if (length === 0) throw ioError('EOF', 'read', 'the file became shorter while it was read');
    visit(buffer.subarray(0, length), offset);
    offset += length;
  }
}

/** Writes all of it: one write may take only a part, the last before the disk is full. */
export function writeFully(fd: number, chunk: Buffer, offset: number): void {
  let written = 0;
  while (written < chunk.length) {
    written += writeSync(fd, chunk, written, chunk.length - written, offset + written);
  }
}

function ioError(code: string, syscall: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${message}, ${syscall}`), { code, syscall });
}
