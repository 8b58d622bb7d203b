import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BadSparseMap,
  formatMap,
  isDense,
  MapReader,
  maxRegions,
  parseHeaderMap,
  RegionList,
  type SparseLayout,
  tarBlockBytes,
} from '../../../src/store/tar/sparse-format.js';

type Pair = [offset: number, length: number];

function pairsOf({ regions }: SparseLayout): Pair[] {
  return Array.from({ length: regions.length }, (_, index) => [
    regions.offsetAt(index),
    regions.lengthAt(index),
  ]);
}

/** Reads a map that comes in pieces of these sizes, and gives what is left of the last one. */
function readInPieces(
  bytes: Buffer,
  sizeBytes: number,
  pieceBytes: number[],
): { layout: SparseLayout; rest: Buffer } {
  const reader = new MapReader(sizeBytes);
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const piece = bytes.subarray(at, at + (pieceBytes[turn % pieceBytes.length] ?? 1));
    at += piece.length;
    const { layout, rest } = reader.take(piece);
    if (layout !== null) return { layout, rest: Buffer.concat([rest, bytes.subarray(at)]) };
  }
  throw new Error('the map did not come to its end');
}

const layouts = fc
  .record({
    pieces: fc.array(fc.record({ gap: fc.nat(5_000_000), length: fc.integer({ min: 1, max: 300_000 }) }), {
      maxLength: 40,
    }),
    end: fc.nat(100_000),
  })
  .map(({ pieces, end }) => {
    let position = 0;
    const raw = pieces.map(({ gap, length }): Pair => {
      const offset = position + gap;
      position = offset + length;
      return [offset, length];
    });
    const sizeBytes = position + end;
    const regions = new RegionList();
    for (const [offset, length] of raw) regions.extend(offset, length, sizeBytes);
    return { raw, layout: { sizeBytes, regions } };
  });

describe('the map of a sparse entry', () => {
  test('comes back as it was written, in whatever pieces it is read, and takes nothing of the data behind it', () => {
    fc.assert(
      fc.property(
        layouts,
        fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 }),
        ({ layout }, sizes) => {
          const map = formatMap(layout);
          expect(map.length % tarBlockBytes).toBe(0);
          const data = Buffer.from('the first data');
          const { layout: read, rest } = readInPieces(Buffer.concat([map, data]), layout.sizeBytes, sizes);
          expect(pairsOf(read)).toEqual(pairsOf(layout));
          expect(rest.toString()).toBe(data.toString());
        },
      ),
      { numRuns: 200 },
    );
  });

  test('covers all data in whole blocks, rising and apart, and no more than a block on either side', () => {
    fc.assert(
      fc.property(layouts, ({ raw, layout: { sizeBytes, regions } }) => {
        let position = -1;
        for (let index = 0; index < regions.length; index++) {
          expect(regions.offsetAt(index)).toBeGreaterThan(position);
          expect(regions.offsetAt(index) % tarBlockBytes).toBe(0);
          position = regions.endAt(index);
          expect(position % tarBlockBytes === 0 || position === sizeBytes).toBe(true);
        }
        const wanted = raw.reduce((sum, [, length]) => sum + length, 0);
        expect(regions.dataBytes).toBeGreaterThanOrEqual(wanted);
        expect(regions.dataBytes).toBeLessThanOrEqual(wanted + 2 * tarBlockBytes * raw.length);
        const inside = ([offset, length]: Pair) =>
          Array.from({ length: regions.length }).some(
            (_, index) => regions.offsetAt(index) <= offset && offset + length <= regions.endAt(index),
          );
        expect(raw.every(inside)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test('loses its smallest holes, and no data, where there are too many regions to remember', () => {
    const regions = new RegionList();
    for (let index = 0; index < 1000; index++)
      regions.push(index * 8192 + (index >= 500 ? 10 ** 7 : 0), 4096);
    const coarse = regions.coarsened(2);
    expect(pairsOf({ sizeBytes: 2 * 10 ** 7, regions: coarse })).toEqual([
      [0, 499 * 8192 + 4096],
      [500 * 8192 + 10 ** 7, 499 * 8192 + 4096],
    ]);
    expect(regions.coarsened(1000)).toBe(regions);
  });

  test('is none for an image without a hole, an empty one included, and marks the end of one that ends in a hole', () => {
    const of = (sizeBytes: number, ...pairs: Pair[]): SparseLayout => {
      const regions = new RegionList();
      for (const [offset, length] of pairs) regions.push(offset, length);
      return { sizeBytes, regions };
    };
    expect(isDense(of(0))).toBe(true);
    expect(isDense(of(1000, [0, 1000]))).toBe(true);
    expect(isDense(of(1000, [512, 488]))).toBe(false);
    expect(text(formatMap(of(5000)))).toBe('1\n5000\n0\n');
    expect(text(formatMap(of(5000, [0, 512])))).toBe('2\n0\n512\n5000\n0\n');
    expect(text(formatMap(of(5000, [4608, 392])))).toBe('1\n4608\n392\n');
  });

  test.each([
    ['a negative number', '1\n-5\n512\n'],
    ['letters', '1\nabc\n512\n'],
    ['a number that is too long', '1\n12345678901234567\n512\n'],
    ['an empty number', '1\n\n512\n'],
    ['more regions than are remembered', `${maxRegions + 1}\n`],
    ['regions that overlap', '2\n0\n1024\n512\n512\n'],
    ['regions that go back', '2\n4096\n512\n0\n512\n'],
    ['a region that leads beyond the end', '1\n9728\n1024\n'],
    ['a region at 8 EiB', '1\n9223372036854775\n512\n'],
    ['a region of half a block in the middle', '1\n0\n100\n'],
    ['no text at all', '\0\0\0\0'],
  ])('with %s is refused', (_, map) => {
    const bytes = Buffer.alloc(tarBlockBytes * 2);
    bytes.write(map, 'latin1');
    expect(() => new MapReader(10_000).take(bytes)).toThrow(BadSparseMap);
  });

  test.each(['0', '0,512,1024', 'a,b', '512,512,0,512', '0,512,', '0,-512', '9728,1024'])(
    'in a header, as %s, is refused',
    (map) => {
      expect(() => parseHeaderMap(map, 10_000)).toThrow(BadSparseMap);
    },
  );
});

function text(map: Buffer): string {
  return map.toString('latin1').replace(/\0+$/, '');
}
