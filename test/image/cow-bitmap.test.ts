import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type BitmapPiece, countMixedGroups } from '../../src/image/cow-bitmap.js';
import { type CowLayout, parseCowHeader } from '../../src/image/cow-file.js';
import { runImageWork } from '../../src/image/image-thread.js';
import { withTempDir } from '../support/temp-dir.js';
import { allocatedBytes, makeImage, withOpen } from './make-image.js';

/** Where a guest reads wrong data of its COW disk (uml-facts, fact 15). */

const groupBytes = 4096;
const pieceOf = (bytes: number[], at = 0): BitmapPiece => ({ at, bytes: Uint8Array.from(bytes) });

/** Bit by bit, as slowly as one likes. */
function byModel(bitmap: number[], sizeBytes: number, sectorBytes: number) {
  const isSet = (sector: number) => (((bitmap[Math.floor(sector / 8)] ?? 0) >> (sector % 8)) & 1) === 1;
  const mixed: number[] = [];
  for (let offset = 0; offset < sizeBytes; offset += groupBytes) {
    const kinds = new Set<boolean>();
    for (let at = offset; at < Math.min(offset + groupBytes, sizeBytes); at += sectorBytes)
      kinds.add(isSet(at / sectorBytes));
    if (kinds.size > 1) mixed.push(offset);
  }
  return { count: mixed.length, firstOffset: mixed[0] ?? null };
}

describe('groups of 4 KiB that lie half in the COW file are found', () => {
  test.each<[string, number[], number, { count: number; firstOffset: number | null }]>([
    ['in no disk that has none', [0, 0xff, 0], 12_288, { count: 0, firstOffset: null }],
    ['in the second byte', [0xff, 0x0f, 0x7f], 12_288, { count: 2, firstOffset: 4096 }],
    [
      'not in a last group that is cut short and wholly there',
      [0, 0x07],
      4096 + 3 * 512,
      { count: 0, firstOffset: null },
    ],
    [
      'not where only bits beyond the end are set',
      [0xff, 0xf8],
      4096 + 3 * 512,
      { count: 0, firstOffset: null },
    ],
    ['in a last group that is cut short', [0, 0xfe], 4096 + 3 * 512, { count: 1, firstOffset: 4096 }],
    ['in a last sector that is cut short', [0, 0x02], 4096 + 512 + 1, { count: 1, firstOffset: 4096 }],
  ])('%s', (_, bitmap, sizeBytes, found) => {
    expect(countMixedGroups([pieceOf(bitmap)], { sizeBytes, sectorBytes: 512 })).toEqual(found);
    expect(byModel(bitmap, sizeBytes, 512)).toEqual(found);
  });

  test('for sectors of every size, as by looking at each bit, in whatever pieces the bitmap comes', () => {
    // The same each time: a multiplier of Lehmer's.
    let state = 20_261_130;
    const random = (below: number) => {
      state = (state * 48_271) % 2_147_483_647;
      return state % below;
    };
    let mixed = 0;
    for (let round = 0; round < 400; round += 1) {
      const sectorBytes = [512, 1024, 2048, 4096, 65_536][random(5)] ?? 0;
      const sizeBytes = 1 + random(40 * sectorBytes);
      const length = Math.ceil(Math.ceil(sizeBytes / sectorBytes) / 8);
      const bitmap = Array.from({ length }, () => [0, 0xff, random(256)][random(3)] ?? 0);
      const cut = random(length + 1);
      const pieces = [pieceOf(bitmap.slice(0, cut)), pieceOf(bitmap.slice(cut), cut)];
      const found = countMixedGroups(pieces, { sizeBytes, sectorBytes });
      expect({ round, ...found }).toEqual({ round, ...byModel(bitmap, sizeBytes, sectorBytes) });
      mixed += found.count;
    }
    expect(mixed).toBeGreaterThan(300);
  });

  test("in a terabyte's disk, whose bitmap is hardly ever more than a hole, and which is merged as sparse", () =>
    withTempDir(async (dir) => {
      const sizeBytes = 2 ** 40;
      const [cow, base] = [join(dir, 'cow'), join(dir, 'base')];
      const layout: CowLayout = {
        ...{ version: 3, sizeBytes, sectorBytes: 512 },
        ...{ bitmapOffset: 8192, bitmapBytes: 2 ** 28, dataOffset: 8192 + 2 ** 28 },
      };
      // A whole group; one that is mixed, after a hole of the bitmap; and one that goes up to where a hole begins.
      const sectors = [
        ...Array.from({ length: 8 }, (_, index) => index),
        2 ** 30 + 3,
        2 ** 30 + 8 * 4096 - 1,
      ];
      await makeImage(base, sizeBytes);
      await writeFile(cow, '');
      await withOpen(cow, 'r+', async (file) => {
        await file.truncate(layout.dataOffset + sizeBytes);
        const bitmap = new Map<number, number>();
        for (const sector of sectors) {
          const byte = Math.floor(sector / 8);
          bitmap.set(byte, (bitmap.get(byte) ?? 0) | (1 << (sector % 8)));
          await file.write(Buffer.alloc(512, 7), 0, 512, layout.dataOffset + sector * 512);
        }
        for (const [at, byte] of bitmap) await file.write(Buffer.of(byte), 0, 1, layout.bitmapOffset + at);
        const { mixed } = await runImageWork({ kind: 'countMixedGroups', cowFd: file.fd, layout });
        expect(mixed).toEqual({ count: 2, firstOffset: 2 ** 39 });

        await withOpen(base, 'r+', async (target) => {
          const merging = { kind: 'mergeCow', cowFd: file.fd, targetFd: target.fd, layout } as const;
          expect((await runImageWork(merging)).dataBytes).toBe(512 * sectors.length);
          for (const sector of [...sectors, 8, 2 ** 30 + 2, 2 ** 30 + 4]) {
            const { buffer } = await target.read(Buffer.alloc(512), 0, 512, sector * 512);
            expect([sector, buffer.every((byte) => byte === (sectors.includes(sector) ? 7 : 0))]).toEqual([
              sector,
              true,
            ]);
          }
        });
      });
      expect(await allocatedBytes(base)).toBeLessThan(2 ** 20);
    }));

  test('in no disk that is larger than UML can have: its bitmap would be looked through for ever', () => {
    const header = Buffer.alloc(4136);
    header.writeUInt32BE(0x4f4f4f4d, 0);
    header.writeUInt32BE(3, 4);
    header.writeBigUInt64BE(2n ** 43n, 12);
    header.writeUInt32BE(512, 20);
    header.writeUInt32BE(4096, 24);
    const problem = expect.stringMatching(/8796093022208 bytes, which UML can't have/);
    expect(parseCowHeader(header, 2 ** 45, 2 ** 43)).toEqual({ problem });
  });
});
