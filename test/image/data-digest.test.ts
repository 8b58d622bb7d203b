import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DataDigest } from '../../src/image/data-digest.js';

const blockBytes = 4096;

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** The definition, word for word; the image begins with so many bytes of zeros more. */
function byDefinition(image: Buffer, zerosBefore = 0): string {
  const hash = createHash('sha256');
  for (let at = 0; at < image.length; at += blockBytes) {
    const block = Buffer.alloc(blockBytes);
    image.copy(block, 0, at, at + blockBytes);
    if (block.some((byte) => byte !== 0)) hash.update(u64(zerosBefore + at)).update(block);
  }
  return hash.update(u64(zerosBefore + image.length)).digest('hex');
}

/** Shows the image in pieces; zeros between pieces may be left out, as holes are. */
function inPieces(image: Buffer, cuts: number[], leaveOutZeros: boolean): string {
  const digest = new DataDigest();
  const bounds = [0, ...cuts.map((cut) => cut % (image.length + 1)), image.length].sort((a, b) => a - b);
  for (const [index, end] of bounds.slice(1).entries()) {
    const start = bounds[index] ?? 0;
    const piece = image.subarray(start, end);
    if (leaveOutZeros && piece.every((byte) => byte === 0)) continue;
    digest.update(start, piece);
  }
  return digest.digest(image.length);
}

const write = fc.record({ at: fc.nat(40_000), bytes: fc.uint8Array({ minLength: 1, maxLength: 9000 }) });
const images = fc.tuple(fc.nat(40_000), fc.array(write, { maxLength: 4 })).map(([sizeBytes, writes]) => {
  const image = Buffer.alloc(sizeBytes);
  for (const { at, bytes } of writes) Buffer.from(bytes).copy(image, Math.min(at, sizeBytes));
  return image;
});

describe('the digest of data alone', () => {
  test('is the same whatever is taken for a hole, and however the data comes in pieces', () => {
    const cuts = fc.array(fc.nat(40_000), { maxLength: 12 });
    fc.assert(
      fc.property(images, cuts, fc.boolean(), (image, cuts, leaveOut) => {
        expect(inPieces(image, cuts, leaveOut)).toBe(byDefinition(image));
      }),
      { numRuns: 150 },
    );
  });

  test.each([2 ** 33 + blockBytes, 2 ** 44])('places data at %i by all of its offset', (offset) => {
    const digest = new DataDigest();
    const data = Buffer.alloc(blockBytes, 1);
    digest.update(offset, data);
    expect(digest.digest(offset + blockBytes)).toBe(byDefinition(data, offset));
  });

  test('takes no data out of order', () => {
    const digest = new DataDigest();
    digest.update(8192, Buffer.alloc(10, 1));
    expect(() => digest.update(8191, Buffer.alloc(1))).toThrow(/after data up to/);
  });
});
