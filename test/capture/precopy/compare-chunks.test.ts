import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chunksOf, sampleChunk } from '../../../src/capture/precopy/compare-chunks.js';

const sizes = fc.array(fc.nat({ max: 2 ** 45 }), { minLength: 1, maxLength: 4 });

test('chunks cover every byte of every disk once, and are few for a disk of any size', () => {
  fc.assert(
    fc.property(sizes, (sizesBytes) => {
      const chunks = chunksOf(sizesBytes);
      for (const [diskIndex, sizeBytes] of sizesBytes.entries()) {
        let position = 0;
        const own = chunks.filter((chunk) => chunk.diskIndex === diskIndex);
        for (const { offset, length } of own) {
          expect(offset).toBe(position);
          expect(length).toBeGreaterThan(0);
          position += length;
        }
        expect(position).toBe(sizeBytes);
        expect(own.length).toBeLessThanOrEqual(2048);
      }
    }),
    { numRuns: 30 },
  );
});

test('a sample takes every chunk once, and its first few from all over the disk', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), (count) => {
      const chunks = chunksOf([count * 8 * 1024 ** 2]);
      const turns = Array.from({ length: count }, (_, turn) => sampleChunk(chunks, turn)?.offset);
      expect(new Set(turns).size).toBe(count);
      expect(sampleChunk(chunks, count)).toBeUndefined();
      if (count < 64) return;
      const quarters = turns
        .slice(0, 16)
        .map((offset) => Math.floor(((offset ?? 0) * 4) / (count * 8 * 1024 ** 2)));
      expect(new Set(quarters).size).toBe(4);
    }),
    { numRuns: 50 },
  );
});
