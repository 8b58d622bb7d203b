/** How the disks are cut into chunks that threads take one by one. Pure. */

export interface Chunk {
  diskIndex: number;
  offset: number;
  length: number;
}

const leastChunkBytes = 8 * 1024 * 1024;
/** More are not needed to keep the threads equally busy, and each costs a look at two maps of holes. */
const maxChunksPerDisk = 2048;

export function chunksOf(sizesBytes: number[]): Chunk[] {
  return sizesBytes.flatMap((sizeBytes, diskIndex) => {
    const chunkBytes = Math.max(leastChunkBytes, roundUp(sizeBytes / maxChunksPerDisk, leastChunkBytes));
    const count = Math.ceil(sizeBytes / chunkBytes);
    return Array.from({ length: count }, (_, index) => {
      const offset = index * chunkBytes;
      return { diskIndex, offset, length: Math.min(chunkBytes, sizeBytes - offset) };
    });
  });
}

/** The `turn`th chunk of a sample: the turns are spread over all chunks, so that any first few see every region of the disks. */
export function sampleChunk(chunks: Chunk[], turn: number): Chunk | undefined {
  if (turn >= chunks.length) return undefined;
  return chunks[(turn * strideFor(chunks.length)) % chunks.length];
}

/** Near the golden section of the count, which spreads best, and without a common divisor, so that every turn is another chunk. */
function strideFor(count: number): number {
  let stride = Math.max(1, Math.round(count * 0.618));
  while (commonDivisor(stride, count) !== 1) stride++;
  return stride;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
