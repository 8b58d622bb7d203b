import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareRange, newCompareBuffers } from '../../src/image/compare-range.js';
import { extentCopier } from '../../src/image/copy-extents.js';
import { copyRange, type ImagePair } from '../../src/image/copy-range.js';
import { punchHole } from '../../src/image/linux-calls.js';
import { withTempDir } from '../support/temp-dir.js';
import { allocatedBytes } from './make-image.js';

const kib = 1024;
const sizeBytes = 1024 * kib + 777;

interface Pair extends ImagePair {
  sourcePath: string;
  targetPath: string;
  source: FileHandle;
}

/** Two files of the same size that have nothing else in common. */
async function withPair(use: (pair: Pair) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const [sourcePath, targetPath] = [join(dir, 'source'), join(dir, 'target')];
    for (const path of [sourcePath, targetPath]) await writeFile(path, randomBytes(sizeBytes));
    const [source, target] = await Promise.all([open(sourcePath, 'r+'), open(targetPath, 'r+')]);
    try {
      await use({ sourcePath, targetPath, source, sourceFd: source.fd, targetFd: target.fd });
    } finally {
      await Promise.all([source.close(), target.close()]);
    }
  });
}

const ways: {
  name: string;
  keepsHoles: boolean;
  makeEqual: (pair: Pair, offset: number, length: number) => void;
}[] = [
  ...(['holes', 'zeros'] as const).map((holesBecome) => ({
    name: `copying holes as ${holesBecome}`,
    keepsHoles: holesBecome === 'holes',
    makeEqual: (pair: Pair, offset: number, length: number) => {
      copyRange(pair, extentCopier(pair.sourceFd, pair.targetFd), { offset, length }, holesBecome);
    },
  })),
  {
    name: 'comparing',
    keepsHoles: true,
    makeEqual: (pair, offset, length) => {
      compareRange(pair, newCompareBuffers(), { offset, length }, () => {});
    },
  },
];

describe.each(ways)('$name', ({ keepsHoles, makeEqual }) => {
  test('makes a stretch the same, and leaves every byte beside it, whatever holes there are on either side', async () => {
    const block = fc.nat({ max: 250 });
    const change = fc.record({ block, blocks: fc.integer({ min: 1, max: 40 }), ofSource: fc.boolean() });
    const stretch = fc.tuple(fc.nat({ max: sizeBytes - 1 }), fc.integer({ min: 1, max: sizeBytes }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 6 }), stretch, async (holes, [offset, wanted]) => {
        const length = Math.min(wanted, sizeBytes - offset);
        await withPair(async (pair) => {
          for (const hole of holes) {
            const fd = hole.ofSource ? pair.sourceFd : pair.targetFd;
            punchHole(fd, hole.block * 4 * kib, hole.blocks * 4 * kib);
          }
          const expected = await readFile(pair.targetPath);
          (await readFile(pair.sourcePath)).copy(expected, offset, offset, offset + length);
          makeEqual(pair, offset, length);
          expect((await readFile(pair.targetPath)).equals(expected)).toBe(true);
        });
      }),
      { numRuns: 60 },
    );
  });

  if (keepsHoles)
    test('makes holes of what is one in the source, and allocates nothing for them', async () => {
      await withPair(async (pair) => {
        punchHole(pair.sourceFd, 64 * kib, 512 * kib);
        makeEqual(pair, 0, sizeBytes);
        expect(await allocatedBytes(pair.targetPath)).toBeLessThanOrEqual(
          await allocatedBytes(pair.sourcePath),
        );
      });
    });
});

describe('comparing', () => {
  test('writes only the blocks that differ', async () => {
    await withPair(async (pair) => {
      const all = { offset: 0, length: sizeBytes };
      compareRange(pair, newCompareBuffers(), all, () => {});
      await pair.source.write(randomBytes(2), 0, 2, 8 * kib - 1);
      await pair.source.write(randomBytes(1), 0, 1, 300 * kib);
      const { comparedBytes, writtenBytes } = compareRange(pair, newCompareBuffers(), all, () => {});
      expect(comparedBytes).toBe(sizeBytes);
      expect(writtenBytes).toBeLessThanOrEqual(12 * kib);
      expect((await readFile(pair.targetPath)).equals(await readFile(pair.sourcePath))).toBe(true);
    });
  });

  test('ends at its limit, and tells every piece', async () => {
    await withPair(async (pair) => {
      let told = 0;
      const tell = (lengthBytes: number) => {
        told += lengthBytes;
      };
      const limit = 300 * kib;
      const all = { offset: 0, length: sizeBytes };
      const { comparedBytes } = compareRange(pair, newCompareBuffers(), all, tell, limit);
      expect(comparedBytes).toBe(limit);
      expect(told).toBe(limit);
    });
  });
});
