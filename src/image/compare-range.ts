import { readSync } from 'node:fs';
import { type ImagePair, makeRangeHole } from './copy-range.js';
import { type Extent, nextData, nextHole } from './sparse-map.js';
import { readExtent, writeFully } from './sparse-pass.js';

/** Of each file at once: stays in the processor's cache between the two reads. */
const chunkBytes = 256 * 1024;
/** What differs is written in whole blocks. */
const blockBytes = 4096;

export interface CompareBuffers {
  source: Buffer;
  target: Buffer;
}

export interface Compared {
  /** Read of each file. */
  comparedBytes: number;
  /** Differed, and were written. */
  writtenBytes: number;
}

/** Buffers for `compareRange`, with their pages in place. */
export function newCompareBuffers(): CompareBuffers {
  return { source: Buffer.alloc(chunkBytes, 1), target: Buffer.alloc(chunkBytes, 1) };
}

/**
 * Makes the stretch of the copy equal to the source's by writing what differs only; what is a hole in the source becomes one in
 * the copy, and is not read. Blocking. As with `copyRange`, whoever calls MUST look at the source's size.
 * @param onCompared told of every piece, of 256 KiB at most
 * @param limitBytes ends when so much was compared
 */
export function compareRange(
  pair: ImagePair,
  buffers: CompareBuffers,
  { offset, length }: Extent,
  onCompared: (lengthBytes: number) => void,
  limitBytes = length,
): Compared {
  const end = offset + length;
  const sum: Compared = { comparedBytes: 0, writtenBytes: 0 };
  let position = offset;
  while (position < end && sum.comparedBytes < limitBytes) {
    const data = Math.min(nextData(pair.sourceFd, position) ?? end, end);
    if (data > position) makeRangeHole(pair.targetFd, position, data - position);
    if (data === end) break;
    const dataEnd = Math.min(nextHole(pair.sourceFd, data) ?? end, end);
    position = Math.min(dataEnd, data + limitBytes - sum.comparedBytes);
    readExtent(pair.sourceFd, { offset: data, length: position - data }, buffers.source, (chunk, at) => {
      sum.writtenBytes += writeDifferences(pair.targetFd, chunk, buffers.target, at);
      onCompared(chunk.length);
    });
    sum.comparedBytes += position - data;
  }
  return sum;
}

function writeDifferences(targetFd: number, wanted: Buffer, buffer: Buffer, offset: number): number {
  const there = readThere(targetFd, buffer, wanted.length, offset);
  if (there.equals(wanted)) return 0;
  let writtenBytes = 0;
  for (let at = 0; at < wanted.length; ) {
    const end = endOfRun(wanted, there, at);
    if (end.differs) {
      writeFully(targetFd, wanted.subarray(at, end.at), offset + at);
      writtenBytes += end.at - at;
    }
    at = end.at;
  }
  return writtenBytes;
}

/** What the copy has in this place; a read may give less than was asked for. */
function readThere(fd: number, buffer: Buffer, length: number, offset: number): Buffer {
  let filled = 0;
  while (filled < length) {
    const read = readSync(fd, buffer, filled, length - filled, offset + filled);
    // The copy is shorter than it was made: what is missing differs from anything.
    if (read === 0) return buffer.subarray(0, filled);
    filled += read;
  }
  return buffer.subarray(0, length);
}

/** Where the blocks from `start` on that all differ, or are all the same, end. */
function endOfRun(wanted: Buffer, there: Buffer, start: number): { at: number; differs: boolean } {
  const differs = isDifferent(wanted, there, start);
  let at = start;
  do at = Math.min(at + blockBytes, wanted.length);
  while (at < wanted.length && isDifferent(wanted, there, at) === differs);
  return { at, differs };
}

function isDifferent(wanted: Buffer, there: Buffer, at: number): boolean {
  const end = Math.min(at + blockBytes, wanted.length);
  if (there.length < end) return true;
  return wanted.compare(there, at, end, at, end) !== 0;
}
