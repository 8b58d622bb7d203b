import { readSync } from 'node:fs';
import type { CowLayout } from './cow-file.js';
import { dataExtents } from './sparse-map.js';

/** A stretch of a COW file's bitmap; what lies between two of them is zeros. */
export interface BitmapPiece {
  /** Counted from the beginning of the bitmap. */
  at: number;
  /** Used again for the next piece. */
  bytes: Uint8Array;
}

const chunkBytes = 64 * 1024;

/** The bitmap but for the holes of the file, in which no bit can be set: that of a terabyte has 256 MiB. In order; blocking. */
export function* bitmapPieces(
  cowFd: number,
  { bitmapOffset, bitmapBytes }: Pick<CowLayout, 'bitmapOffset' | 'bitmapBytes'>,
): Generator<BitmapPiece> {
  const chunk = Buffer.alloc(chunkBytes);
  for (const { offset, length } of dataExtents(cowFd, bitmapOffset + bitmapBytes, bitmapOffset)) {
    for (let done = 0; done < length; ) {
      const read = readSync(cowFd, chunk, 0, Math.min(chunk.length, length - done), offset + done);
      // It was long enough a moment ago: what is cut off since has no sectors.
      if (read === 0) return;
      yield { at: offset + done - bitmapOffset, bytes: chunk.subarray(0, read) };
      done += read;
    }
  }
}

/** UML decides for each segment of a request where its sectors lie, and a segment is 4 KiB. */
const groupBytes = 4096;

export interface MixedGroups {
  count: number;
  /** On the disk, in bytes; null where there is none. */
  firstOffset: number | null;
}

/**
 * Counts the aligned groups of 4 KiB of a disk that have sectors in the COW file and others in the backing file. A guest that reads
 * beyond such a group in one request gets wrong data (uml-facts, fact 15); all else of the pair is read right. Pure.
 */
export function countMixedGroups(
  pieces: Iterable<BitmapPiece>,
  { sizeBytes, sectorBytes }: Pick<CowLayout, 'sizeBytes' | 'sectorBytes'>,
): MixedGroups {
  const found: MixedGroups = { count: 0, firstOffset: null };
  const sectorsPerGroup = groupBytes / sectorBytes;
  if (sectorsPerGroup < 2) return found;
  const mixedOf = Array.from({ length: 256 }, (_, byte) => mixedGroupsIn(byte, sectorsPerGroup));
  const sectors = Math.ceil(sizeBytes / sectorBytes);
  const lastByte = Math.ceil(sectors / 8) - 1;
  for (const { at, bytes } of pieces) {
    for (let index = 0; index < bytes.length; index += 1) {
      const byte = bytes[index] ?? 0;
      if (byte === 0 || byte === 0xff) continue;
      const mixed = mixedOf[at + index === lastByte ? extended(byte, sectors % 8 || 8) : byte] ?? [];
      found.count += mixed.length;
      if (mixed[0] !== undefined)
        found.firstOffset ??= (at + index) * 8 * sectorBytes + mixed[0] * groupBytes;
    }
  }
  return found;
}

/** Which of the groups whose bits the byte has are mixed. */
function mixedGroupsIn(byte: number, sectorsPerGroup: number): number[] {
  const all = (1 << sectorsPerGroup) - 1;
  const groups = Array.from({ length: 8 / sectorsPerGroup }, (_, group) => group);
  return groups.filter((group) => ![0, all].includes((byte >> (group * sectorsPerGroup)) & all));
}

/** Bits of sectors beyond the disk's end mean nothing: they are taken to be as the last one that means something. */
function extended(byte: number, validBits: number): number {
  const beyond = (0xff << validBits) & 0xff;
  return (byte >> (validBits - 1)) & 1 ? byte | beyond : byte & ~beyond;
}
