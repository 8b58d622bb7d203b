import type { FileHandle } from 'node:fs/promises';

/**
 * UML's COW files (uml-facts §5): a header, a bitmap with a bit for each sector, and the sectors that differ from the backing
 * file. Both lie where the guest's side can write: nothing in them is believed that is not held against the files themselves.
 */
export interface CowLayout {
  version: 2 | 3;
  /** Of the disk that the two files make together. */
  sizeBytes: number;
  sectorBytes: number;
  bitmapOffset: number;
  bitmapBytes: number;
  /** Where sector 0 lies, if it lies in the COW file. */
  dataOffset: number;
}

/** The longest header that there is: so much of the file is to be read. */
export const cowHeaderBytes = 4136;

const magic = 0x4f4f4f4d;
const maxSectorBytes = 64 * 1024;
const maxAlignment = 1024 * 1024;
/** UML keeps it in a signed number of 32 bits (uml-facts §5), which bounds a disk to 8 TiB, and a bitmap to 2 GiB. */
const maxDataOffset = 2 ** 31 - 1;

/** Where the fields of a header lie; the third is how 64-bit kernels wrote version 3 before December 2005. */
interface Shape {
  version: 2 | 3;
  size: number;
  sector: number;
  /** null: data begins at a whole sector. */
  alignment: number | null;
  headerBytes: number;
}

const shapes: readonly Shape[] = [
  { version: 3, size: 12, sector: 20, alignment: 24, headerBytes: 4128 },
  { version: 3, size: 16, sector: 24, alignment: 28, headerBytes: 4136 },
  { version: 2, size: 4108, sector: 4116, alignment: null, headerBytes: 4120 },
];

export type CowHeader = { layout: CowLayout } | { problem: string };

/** Reads the header of an open COW file: see `parseCowHeader`. @throws Node's I/O errors */
export async function readCowHeader(cow: FileHandle, backingBytes: number): Promise<CowHeader> {
  const header = Buffer.alloc(cowHeaderBytes);
  const { bytesRead } = await cow.read(header, 0, header.length, 0);
  const { size } = await cow.stat();
  return parseCowHeader(header.subarray(0, bytesRead), size, backingBytes);
}

/**
 * Reads a header, big-endian. Of its size only one is believed: that of the backing file.
 * @param fileBytes size of the COW file
 * @returns what is wrong with it, for people, where it can't be the header of this pair
 */
export function parseCowHeader(header: Buffer, fileBytes: number, backingBytes: number): CowHeader {
  if (header.length < cowHeaderBytes || fileBytes < cowHeaderBytes)
    return { problem: 'the COW file is too short for a header' };
  if (header.readUInt32BE(0) !== magic) return { problem: 'the COW file has no COW header' };
  const version = header.readUInt32BE(4);
  const candidates = shapes.filter((shape) => shape.version === version);
  if (candidates.length === 0)
    return { problem: `the COW header has version ${version}, which is not known` };
  for (const shape of candidates) {
    const layout = layoutOf(shape, header, backingBytes);
    if (layout === undefined) continue;
    if (layout.dataOffset > maxDataOffset)
      return { problem: `the COW header is of a disk of ${backingBytes} bytes, which UML can't have` };
    if (layout.bitmapOffset + layout.bitmapBytes <= fileBytes) return { layout };
    return { problem: 'the COW file ends within its own bitmap' };
  }
  return { problem: `the COW header is not one of a backing file of ${backingBytes} bytes` };
}

function layoutOf(shape: Shape, header: Buffer, backingBytes: number): CowLayout | undefined {
  const { version } = shape;
  if (header.readBigUInt64BE(shape.size) !== BigInt(backingBytes)) return undefined;
  const sectorBytes = header.readUInt32BE(shape.sector);
  if (!isPowerOfTwo(sectorBytes) || sectorBytes < 512 || sectorBytes > maxSectorBytes) return undefined;
  const sectors = Math.ceil(backingBytes / sectorBytes);
  const bitmapBytes = Math.ceil(sectors / 8);
  const shared = { version, sizeBytes: backingBytes, sectorBytes, bitmapBytes };
  if (shape.alignment === null) {
    const bitmapOffset = shape.headerBytes;
    return { ...shared, bitmapOffset, dataOffset: roundUp(bitmapOffset + bitmapBytes, sectorBytes) };
  }
  const alignment = header.readUInt32BE(shape.alignment);
  if (!isPowerOfTwo(alignment) || alignment > maxAlignment) return undefined;
  const bitmapOffset = roundUp(shape.headerBytes, alignment);
  return { ...shared, bitmapOffset, dataOffset: roundUp(bitmapOffset + bitmapBytes, alignment) };
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
