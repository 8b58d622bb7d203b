import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareRange, newCompareBuffers } from '../../src/image/compare-range.js';
import { extentCopier } from '../../src/image/copy-extents.js';
import { copyRange, type ImagePair } from '../../src/image/copy-range.js';
import { punchHole } from '../../src/image/linux-calls.js';
import { withTempDir } from '../support/temp-dir.js';
import { allocatedBytes, withOpen } from './make-image.js';

const kib = 1024;
const sizeBytes = 1024 * kib + 777;
const all = { offset: 0, length: sizeBytes };

interface Pair extends ImagePair {
  sourcePath: string;
  targetPath: string;
}

/** Two files of the same size that have nothing else in common. */
async function withPair(use: (pair: Pair) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const [sourcePath, targetPath] = [join(dir, 'source'), join(dir, 'target')];
    for (const path of [sourcePath, targetPath]) await writeFile(path, randomBytes(sizeBytes));
    await withOpen(sourcePath, 'r+', ({ fd: sourceFd }) =>
      withOpen(targetPath, 'r+', ({ fd: targetFd }) => use({ sourcePath, targetPath, sourceFd, targetFd })),
    );
  });
}

const copying = (holesBecome: 'holes' | 'zeros') => (pair: Pair, stretch: typeof all) =>
  copyRange(pair, extentCopier(pair.sourceFd, pair.targetFd), stretch, holesBecome);
const comparing = (pair: Pair, stretch: typeof all) =>
  compareRange(pair, newCompareBuffers(), stretch, () => {});

describe.each([
  ['copying holes as holes', copying('holes'), true],
  ['copying holes as zeros', copying('zeros'), false],
  ['comparing', comparing, true],
])('%s', (_, makeEqual, keepsHoles) => {
  test('makes a stretch the same, and leaves every byte beside it, whatever holes there are on either side', async () => {
    const block = fc.nat({ max: 250 });
    const change = fc.record({ block, blocks: fc.integer({ min: 1, max: 40 }), ofSource: fc.boolean() });
    const stretch = fc.tuple(fc.nat({ max: sizeBytes - 1 }), fc.integer({ min: 1, max: sizeBytes }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 6 }), stretch, async (holes, [offset, wanted]) => {
        const length = Math.min(wanted, sizeBytes - offset);
        await withPair(async (pair) => {
          for (const { block, blocks, ofSource } of holes) {
            punchHole(ofSource ? pair.sourceFd : pair.targetFd, block * 4 * kib, blocks * 4 * kib);
          }
          const expected = await readFile(pair.targetPath);
          (await readFile(pair.sourcePath)).copy(expected, offset, offset, offset + length);
          makeEqual(pair, { offset, length });
          expect((await readFile(pair.targetPath)).equals(expected)).toBe(true);
        });
      }),
      { numRuns: 60 },
    );
  });

  if (keepsHoles)
    test('makes holes of what is one in the source, and allocates nothing for them', () =>
      withPair(async (pair) => {
        punchHole(pair.sourceFd, 64 * kib, 512 * kib);
        makeEqual(pair, all);
        const allocated = await allocatedBytes(pair.sourcePath);
        expect(await allocatedBytes(pair.targetPath)).toBeLessThanOrEqual(allocated);
      }));
});

test('comparing writes only the blocks that differ, tells every piece, and ends at its limit', () =>
  withPair(async (pair) => {
    comparing(pair, all);
    writeSync(pair.sourceFd, randomBytes(2), 0, 2, 8 * kib - 1);
    writeSync(pair.sourceFd, randomBytes(1), 0, 1, 300 * kib);
    const { comparedBytes, writtenBytes } = comparing(pair, all);
    expect(comparedBytes).toBe(sizeBytes);
    expect(writtenBytes).toBeLessThanOrEqual(12 * kib);
    expect((await readFile(pair.targetPath)).equals(await readFile(pair.sourcePath))).toBe(true);

    const told: number[] = [];
    const limit = 300 * kib;
    const cut = compareRange(pair, newCompareBuffers(), all, (lengthBytes) => told.push(lengthBytes), limit);
    expect(cut.comparedBytes).toBe(limit);
    expect(told.reduce((sum, lengthBytes) => sum + lengthBytes)).toBe(limit);
  }));
