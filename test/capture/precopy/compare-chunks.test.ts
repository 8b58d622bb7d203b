import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chunksOf, sampleChunk } from '../../../src/capture/precopy/compare-work.js';

test('chunks cover every byte of every disk once, and are few for a disk of any size', () => {
  const sizes = fc.array(fc.nat({ max: 2 ** 45 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(sizes, (sizesBytes) => {
      const chunks = chunksOf(sizesBytes);
      for (const [diskIndex, sizeBytes] of sizesBytes.entries()) {
        const own = chunks.filter((chunk) => chunk.diskIndex === diskIndex);
        const ends = own.map(({ offset, length }) => offset + length);
        expect([...own.map(({ offset }) => offset), sizeBytes]).toEqual([0, ...ends]);
        expect(own.every(({ length }) => length > 0)).toBe(true);
        expect(own.length).toBeLessThanOrEqual(2048);
      }
    }),
    { numRuns: 30 },
  );
});

test('a sample takes every chunk once, and its first few from all over the disk', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), (count) => {
      const sizeBytes = count * 8 * 1024 ** 2;
      const chunks = chunksOf([sizeBytes]);
      const turns = Array.from(
        { length: count },
        (_, turn) => sampleChunk(chunks, turn)?.offset ?? Number.NaN,
      );
      expect(new Set(turns).size).toBe(count);
      expect(sampleChunk(chunks, count)).toBeUndefined();
      const quarters = new Set(turns.slice(0, 16).map((offset) => Math.floor((offset * 4) / sizeBytes)));
      if (count >= 64) expect(quarters.size).toBe(4);
    }),
    { numRuns: 50 },
  );
});
