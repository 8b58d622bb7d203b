import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DataDigest } from '../../src/image/data-digest.js';

const blockBytes = 4096;

/** The definition, word for word. */
function byDefinition(image: Buffer): string {
  const hash = createHash('sha256');
  const u64 = (value: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  };
  for (let at = 0; at < image.length; at += blockBytes) {
    const block = Buffer.alloc(blockBytes);
    image.copy(block, 0, at, at + blockBytes);
    if (block.some((byte) => byte !== 0)) hash.update(u64(at)).update(block);
  }
  return hash.update(u64(image.length)).digest('hex');
}

/** Shows the image in pieces; zeros between pieces may be left out, as holes are. */
function inPieces(image: Buffer, cuts: number[], leaveOutZeros: boolean): string {
  const digest = new DataDigest();
  const bounds = [0, ...cuts.map((cut) => cut % (image.length + 1)), image.length].sort((a, b) => a - b);
  for (let index = 1; index < bounds.length; index++) {
    const start = bounds[index - 1] ?? 0;
    const piece = image.subarray(start, bounds[index]);
    if (leaveOutZeros && piece.every((byte) => byte === 0)) continue;
    digest.update(start, piece);
  }
  return digest.digest(image.length);
}

const images = fc
  .record({
    sizeBytes: fc.integer({ min: 0, max: 40_000 }),
    writes: fc.array(
      fc.record({ at: fc.nat(40_000), bytes: fc.uint8Array({ minLength: 1, maxLength: 9000 }) }),
      { maxLength: 4 },
    ),
  })
  .map(({ sizeBytes, writes }) => {
    const image = Buffer.alloc(sizeBytes);
    for (const { at, bytes } of writes)
      image.set(bytes.subarray(0, Math.max(0, sizeBytes - at)), Math.min(at, sizeBytes));
    return image;
  });

describe('the digest of data alone', () => {
  test('is the same whatever is taken for a hole, and however the data comes in pieces', () => {
    fc.assert(
      fc.property(
        images,
        fc.array(fc.nat(40_000), { maxLength: 12 }),
        fc.boolean(),
        (image, cuts, leaveOut) => {
          expect(inPieces(image, cuts, leaveOut)).toBe(byDefinition(image));
        },
      ),
      { numRuns: 150 },
    );
  });

  test('differs when a byte, its place or the size differs', () => {
    const image = Buffer.alloc(20_000);
    image.write('data', 5000);
    const moved = Buffer.alloc(20_000);
    moved.write('data', 5000 + blockBytes);
    const changed = Buffer.from(image);
    changed[5003] = (changed[5003] ?? 0) ^ 1;
    const longer = Buffer.concat([image, Buffer.alloc(1)]);
    const digests = [image, moved, changed, longer].map((one) => inPieces(one, [], false));
    expect(new Set(digests).size).toBe(4);
  });

  test('places data beyond 4 GiB by all of its offset', () => {
    const at = (offset: number) => {
      const digest = new DataDigest();
      digest.update(offset, Buffer.alloc(blockBytes, 1));
      return digest.digest(2 ** 45);
    };
    expect(at(2 ** 33 + blockBytes)).not.toBe(at(blockBytes));
    expect(at(2 ** 44)).not.toBe(at(2 ** 43));
  });

  test('takes no data out of order', () => {
    const digest = new DataDigest();
    digest.update(8192, Buffer.alloc(10, 1));
    expect(() => digest.update(8191, Buffer.alloc(1))).toThrow(/after data up to/);
  });
});
