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

const pairsOf = (regions: RegionList): Pair[] =>
  Array.from({ length: regions.length }, (_, index) => [regions.offsetAt(index), regions.lengthAt(index)]);

/** Reads a map that comes in pieces of these sizes, and gives what is left of the last one. */
function readInPieces(bytes: Buffer, sizeBytes: number, pieceBytes: number[]) {
  const reader = new MapReader(sizeBytes);
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const piece = bytes.subarray(at, at + (pieceBytes[turn % pieceBytes.length] ?? 1));
    at += piece.length;
    const { layout, rest } = reader.take(piece);
    if (layout !== null) return { layout, rest: Buffer.concat([rest, bytes.subarray(at)]) };
  }
  throw new Error('the map did not come to its end');
}

const pieces = fc.record({ gap: fc.nat(5_000_000), length: fc.integer({ min: 1, max: 300_000 }) });
const layouts = fc.tuple(fc.array(pieces, { maxLength: 40 }), fc.nat(100_000)).map(([pieces, end]) => {
  let position = 0;
  const raw = pieces.map(({ gap, length }): Pair => {
    position += gap + length;
    return [position - length, length];
  });
  const sizeBytes = position + end;
  const regions = new RegionList();
  for (const [offset, length] of raw) regions.extend(offset, length, sizeBytes);
  return { raw, layout: { sizeBytes, regions } };
});

describe('the map of a sparse entry', () => {
  test('comes back as it was written, in whatever pieces it is read, and takes nothing of the data behind it', () => {
    const someSizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 });
    const property = fc.property(layouts, someSizes, ({ layout }, sizes) => {
      const map = formatMap(layout);
      expect(map.length % tarBlockBytes).toBe(0);
      const data = Buffer.from('the first data');
      const read = readInPieces(Buffer.concat([map, data]), layout.sizeBytes, sizes);
      expect(pairsOf(read.layout.regions)).toEqual(pairsOf(layout.regions));
      expect(read.rest.toString()).toBe(data.toString());
    });
    fc.assert(property, { numRuns: 200 });
  });

  test('covers all data in whole blocks, rising and apart, and no more than a block on either side', () => {
    const property = fc.property(layouts, ({ raw, layout: { sizeBytes, regions } }) => {
      const pairs = pairsOf(regions);
      let position = -1;
      for (const [offset, length] of pairs) {
        expect(offset).toBeGreaterThan(position);
        expect(offset % tarBlockBytes).toBe(0);
        position = offset + length;
        expect(position % tarBlockBytes === 0 || position === sizeBytes).toBe(true);
      }
      const wanted = raw.reduce((sum, [, length]) => sum + length, 0);
      expect(regions.dataBytes).toBeGreaterThanOrEqual(wanted);
      expect(regions.dataBytes).toBeLessThanOrEqual(wanted + 2 * tarBlockBytes * raw.length);
      const inside = ([offset, length]: Pair) =>
        pairs.some(([at, covered]) => at <= offset && offset + length <= at + covered);
      expect(raw.every(inside)).toBe(true);
    });
    fc.assert(property, { numRuns: 200 });
  });

  test('loses its smallest holes, and no data, where there are too many regions to remember', () => {
    const regions = new RegionList();
    for (let index = 0; index < 1000; index++)
      regions.push(index * 8192 + (index >= 500 ? 10 ** 7 : 0), 4096);
    const coarse = regions.coarsened(2);
    expect(pairsOf(coarse)).toEqual([
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
    const mapOf = (...pairs: Pair[]) =>
      formatMap(of(5000, ...pairs))
        .toString('latin1')
        .replace(/\0+$/, '');
    expect(mapOf()).toBe('1\n5000\n0\n');
    expect(mapOf([0, 512])).toBe('2\n0\n512\n5000\n0\n');
    expect(mapOf([4608, 392])).toBe('1\n4608\n392\n');
  });

  test.each([
    ['a negative number', '1\n-5\n512\n'],
    ['letters', '1\nabc\n512\n'],
    ['a number that is too long', '1\n12345678901234567\n512\n'],
    ['an empty number', '1\n\n512\n'],
    ['more regions than are remembered', `${maxRegions + 1}\n`],
    ['regions that overlap', '2\n0\n1024\n512\n512\n'],
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
