import { readSync } from 'node:fs';
import { makeRangeHole } from './copy-range.js';
import type { CowLayout } from './cow-file.js';
import { type Extent, nextData, nextHole } from './sparse-map.js';
import { newBuffer, readExtent, writeFully } from './sparse-pass.js';

const bitmapChunkBytes = 64 * 1024;

/**
 * Writes the sectors that a COW file has over a copy of its backing file: the raw image of the disk. What is a hole in the COW
 * file becomes one in the image. Blocking.
 * @returns how many bytes of data were written
 */
export function mergeCow(cowFd: number, targetFd: number, layout: CowLayout): number {
  const buffer = newBuffer();
  let dataBytes = 0;
  for (const { offset, length } of runsOf(cowFd, layout)) {
    const end = offset + length;
    let position = offset;
    while (position < end) {
      const shift = layout.dataOffset;
      const data = Math.min((nextData(cowFd, position + shift) ?? end + shift) - shift, end);
      if (data > position) makeRangeHole(targetFd, position, data - position);
      if (data === end) break;
      position = Math.min((nextHole(cowFd, data + shift) ?? end + shift) - shift, end);
      const extent = { offset: data + shift, length: position - data };
      readExtent(cowFd, extent, buffer, (chunk, at) => writeFully(targetFd, chunk, at - shift));
      dataBytes += position - data;
    }
  }
  return dataBytes;
}

/** The stretches of the disk whose sectors lie in the COW file, in order. */
function* runsOf(cowFd: number, layout: CowLayout): Generator<Extent> {
  const { sectorBytes, sizeBytes } = layout;
  let start: number | null = null;
  let sector = 0;
  for (const byte of bitmapOf(cowFd, layout)) {
    for (let bit = 0; bit < 8; bit += 1, sector += 1) {
      const isSet = ((byte >> bit) & 1) === 1;
      if (isSet) start ??= sector;
      else if (start !== null) {
        yield clipped(start * sectorBytes, sector * sectorBytes, sizeBytes);
        start = null;
      }
    }
  }
  if (start !== null) yield clipped(start * sectorBytes, sector * sectorBytes, sizeBytes);
}

function* bitmapOf(cowFd: number, { bitmapOffset, bitmapBytes }: CowLayout): Generator<number> {
  const chunk = Buffer.alloc(bitmapChunkBytes);
  for (let at = 0; at < bitmapBytes; ) {
    const length = readSync(cowFd, chunk, 0, Math.min(chunk.length, bitmapBytes - at), bitmapOffset + at);
    // It was long enough a moment ago: what is cut off since has no sectors.
    if (length === 0) return;
    yield* chunk.subarray(0, length);
    at += length;
  }
}

/** The last bits of the bitmap may stand for sectors that the disk does not have. */
function clipped(start: number, end: number, sizeBytes: number): Extent {
  const offset = Math.min(start, sizeBytes);
  return { offset, length: Math.min(end, sizeBytes) - offset };
}
