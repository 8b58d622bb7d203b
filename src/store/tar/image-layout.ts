import type { FileHandle } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ImageContent, ImagePiece } from '../../image/image-content.js';
import { dataExtents, type Extent } from '../../image/sparse-map.js';
import { maxRegions, RegionList, type SparseLayout } from './sparse-format.js';

/** After so many steps the event loop gets its turn: a guest's file may have millions of pieces. */
const stepsPerTurn = 512;
const readBytes = 512 * 1024;
const zeros = Buffer.alloc(64 * 1024);

/** Where an image has data. A stream is read to its end for that: in an archive, the map comes before the data. */
export async function layoutOf(
  content: ImageContent,
  sizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<SparseLayout> {
  const regions = new RegionList();
  let steps = 0;
  const extents = content.from === 'file' ? dataExtents(content.handle.fd, sizeBytes) : content.pieces;
  for await (const extent of extents) {
    signal?.throwIfAborted();
    regions.extend(extent.offset, 'data' in extent ? extent.data.length : extent.length, sizeBytes);
    if (++steps % stepsPerTurn === 0) await nextTurn();
  }
  return { sizeBytes, regions: regions.coarsened(maxRegions) };
}

/** The bytes of the regions, without a gap, one after the other. Each piece is memory of its own. */
export async function* regionBytes(
  content: ImageContent,
  { regions }: SparseLayout,
): AsyncGenerator<ImagePiece> {
  if (content.from === 'stream') {
    yield* filledUp(content.pieces, regions);
    return;
  }
  // One piece is read while the one before it is written.
  let ahead: Promise<ImagePiece | null> | undefined;
  for (const { offset, length } of piecesToRead(regions)) {
    const reading = readPiece(content.handle, offset, length);
    // Told in its turn.
    reading.catch(() => undefined);
    const piece = await ahead;
    ahead = reading;
    if (piece === null) return;
    if (piece !== undefined) yield piece;
  }
  const last = await ahead;
  if (last) yield last;
}

function* piecesToRead(regions: RegionList): Generator<Extent> {
  for (let index = 0; index < regions.length; index++) {
    const end = regions.endAt(index);
    for (let offset = regions.offsetAt(index); offset < end; offset += readBytes) {
      yield { offset, length: Math.min(readBytes, end - offset) };
    }
  }
}

/** null: the file has become shorter, which whoever hashes it will find. */
async function readPiece(handle: FileHandle, offset: number, length: number): Promise<ImagePiece | null> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) return null;
    filled += bytesRead;
  }
  return { offset, data: buffer };
}

/** Regions are whole blocks, and may span holes where there were too many: zeros there. */
async function* filledUp(pieces: AsyncIterable<ImagePiece>, regions: RegionList): AsyncGenerator<ImagePiece> {
  let index = 0;
  let position = regions.offsetAt(0);
  for await (const { offset, data } of pieces) {
    while (index < regions.length && offset >= regions.endAt(index)) {
      yield* zerosBetween(position, regions.endAt(index));
      index++;
      position = regions.offsetAt(index);
    }
    yield* zerosBetween(position, offset);
    yield { offset, data };
    position = offset + data.length;
  }
  if (index < regions.length) yield* zerosBetween(position, regions.endAt(index));
}

function* zerosBetween(start: number, end: number): Generator<ImagePiece> {
  for (let offset = start; offset < end; offset += zeros.length) {
    yield { offset, data: zeros.subarray(0, Math.min(zeros.length, end - offset)) };
  }
}
