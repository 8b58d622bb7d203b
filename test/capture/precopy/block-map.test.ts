import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BlockMap, blockBytes } from '../../../src/capture/precopy/block-map.js';

function blocksOf({ offset, length }: { offset: number; length: number }, sizeBytes: number): number[] {
  const end = Math.min(offset + length, sizeBytes);
  if (length === 0 || end <= offset) return [];
  const first = Math.floor(offset / blockBytes);
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
  const offset = fc.nat({ max: 40_000_000 });
  const stretches = fc.array(fc.record({ offset, length: fc.nat({ max: 3_000_000 }) }), { maxLength: 30 });
  const runs = fc.oneof(fc.nat({ max: 8 }), fc.constant(Number.POSITIVE_INFINITY));
  fc.assert(
    fc.property(offset, stretches, runs, (sizeBytes, marks, mayRun) => {
      const map = BlockMap.ofSize(sizeBytes);
      for (const { offset, length } of marks) map.mark(offset, length);
      const wanted = new Set(marks.flatMap((mark) => blocksOf(mark, sizeBytes)));
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
