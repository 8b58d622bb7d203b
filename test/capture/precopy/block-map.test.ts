import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BlockMap, blockBytes } from '../../../src/capture/precopy/block-map.js';

const stretches = fc.array(
  fc.record({ offset: fc.nat({ max: 40_000_000 }), length: fc.nat({ max: 3_000_000 }) }),
  { maxLength: 30 },
);

function blocksOf(stretch: { offset: number; length: number }, sizeBytes: number): number[] {
  const end = Math.min(stretch.offset + stretch.length, sizeBytes);
  if (stretch.length === 0 || end <= stretch.offset) return [];
  const first = Math.floor(stretch.offset / blockBytes);
  return Array.from({ length: Math.ceil(end / blockBytes) - first }, (_, index) => first + index);
}

/** What `take` shows, as blocks; every run has to begin at a block and end at one, or at the disk's end. */
function taken(map: BlockMap, sizeBytes: number, mayGoOn?: () => boolean): number[] {
  const blocks: number[] = [];
  map.take((offset, length) => {
    expect(offset % blockBytes).toBe(0);
    expect(length % blockBytes === 0 || offset + length === sizeBytes).toBe(true);
    expect(length).toBeLessThanOrEqual(1.25 * 1024 ** 2);
    blocks.push(...blocksOf({ offset, length }, sizeBytes));
  }, mayGoOn);
  return blocks;
}

test('a map gives back every block that a stretch touched, once and in order, also when it is stopped half-way', () => {
  const runs = fc.oneof(fc.nat({ max: 8 }), fc.constant(Number.POSITIVE_INFINITY));
  fc.assert(
    fc.property(fc.nat({ max: 40_000_000 }), stretches, runs, (sizeBytes, marks, mayRun) => {
      const map = BlockMap.ofSize(sizeBytes);
      const wanted = new Set<number>();
      for (const mark of marks) {
        map.mark(mark.offset, mark.length);
        for (const block of blocksOf(mark, sizeBytes)) wanted.add(block);
      }
      expect(map.markedBytes()).toBe(wanted.size * blockBytes);
      let left = mayRun;
      const first = taken(map, sizeBytes, () => --left > 0);
      expect(map.markedBytes()).toBe((wanted.size - first.length) * blockBytes);
      expect([...first, ...taken(map, sizeBytes)]).toEqual([...wanted].sort((a, b) => a - b));
      expect([map.markedBytes(), taken(map, sizeBytes)]).toEqual([0, []]);
    }),
    { numRuns: 150 },
  );
});

test('a block that is marked while it is being copied is taken again, by another thread’s map of the same memory too', () => {
  const map = BlockMap.ofSize(1024 ** 2);
  const elsewhere = new BlockMap(map.shared);
  map.mark(8192, 1);
  elsewhere.take(() => map.mark(8192, 1));
  expect(taken(elsewhere, 1024 ** 2)).toEqual([2]);
});

test('the map of a sparse disk of terabytes is made and walked without touching its memory', () => {
  const sizeBytes = 8 * 1024 ** 4;
  const map = BlockMap.ofSize(sizeBytes);
  map.mark(sizeBytes - 1, 100);
  const before = process.memoryUsage().rss;
  expect(taken(map, sizeBytes)).toEqual([sizeBytes / blockBytes - 1]);
  expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 ** 2);
});
