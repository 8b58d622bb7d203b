import { makeRangeHole } from './copy-range.js';
import { bitmapPieces } from './cow-bitmap.js';
import type { CowLayout } from './cow-file.js';
import { type Extent, nextData, nextHole } from './sparse-map.js';
import { newBuffer, readExtent, writeFully } from './sparse-pass.js';

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
  const run = (from: number, to: number) => clipped(from * sectorBytes, to * sectorBytes, sizeBytes);
  let start: number | null = null;
  let sector = 0;
  for (const { at, bytes } of bitmapPieces(cowFd, layout)) {
    if (start !== null && at * 8 > sector) {
      yield run(start, sector);
      start = null;
    }
    sector = at * 8;
    for (const byte of bytes) {
      // Most bytes are all or nothing, and those of a terabyte are many.
      if (byte === (start === null ? 0 : 0xff)) {
        sector += 8;
        continue;
      }
      for (let bit = 0; bit < 8; bit += 1, sector += 1) {
        const isSet = ((byte >> bit) & 1) === 1;
        if (isSet) start ??= sector;
        else if (start !== null) {
          yield run(start, sector);
          start = null;
        }
      }
    }
  }
  if (start !== null) yield run(start, sector);
}

/** The last bits of the bitmap may stand for sectors that the disk does not have. */
function clipped(start: number, end: number, sizeBytes: number): Extent {
  const offset = Math.min(start, sizeBytes);
  return { offset, length: Math.min(end, sizeBytes) - offset };
}
