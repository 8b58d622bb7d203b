import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sha256OfFile } from '../../src/image/digest.js';
import { copySparse, copySparseWithDigest, countDataBytes, failedSide } from '../../src/image/sparse-copy.js';
import { dataExtents } from '../../src/image/sparse-map.js';
import { readExtent } from '../../src/image/sparse-pass.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';
import { allocatedBytes, imageShapes, makeImage, withOpen } from './make-image.js';

const dir = tempDirOfFile();

/** Copies to a file that holds something else, and compares with what the host's own tools say. */
async function expectSameImage(
  source: string,
  way: typeof copySparse | typeof copySparseWithDigest,
  before: Buffer | string = '',
): Promise<void> {
  const copy = `${source}.copy`;
  await writeFile(copy, before);
  const copied = await withOpen(source, 'r', (from) => withOpen(copy, 'r+', (to) => way(from.fd, to.fd)));
  expect((await tryTool('cmp', [source, copy])).output).toBe('');
  expect(await allocatedBytes(copy)).toBeLessThanOrEqual((await allocatedBytes(source)) + 65_536);
  const sha256 = 'sha256' in copied ? copied.sha256 : await sha256OfFile(source);
  expect((await runTool('sha256sum', [source])).toString().slice(0, 64)).toBe(sha256);
}

describe.each([
  ['ext4', copySparse],
  ['xfs', copySparseWithDigest],
] as const)('on %s', (type, way) => {
  const why = whyNoLoopMount(type);
  const skipped = why ? ` (skipped: ${why})` : '';
  const onIt = (use: (source: string) => Promise<void>) =>
    withLoopFilesystem({ type, sizeMiB: 300 }, (place) => use(join(place, 'source')));

  test.skipIf(why)(`an image of any shape is copied byte for byte and hole for hole${skipped}`, () =>
    onIt(async (source) => {
      for (const { name, sizeBytes, pieces } of imageShapes) {
        await makeImage(`${source} ${name}`, sizeBytes, pieces);
        await expectSameImage(`${source} ${name}`, way);
      }
    }),
  );

  test.skipIf(why)(`data that is still dirty over preallocated room is not taken for a hole${skipped}`, () =>
    onIt(async (source) => {
      await runTool('fallocate', ['-l', '8M', source]);
      await withOpen(source, 'r+', async (file) => {
        await file.write(Buffer.alloc(10_000, 'x'), 0, 10_000, 3_000_000);
        const extents = [...dataExtents(file.fd, 8 * 1024 ** 2)];
        const holds = extents.some(
          ({ offset, length }) => offset <= 3_000_000 && offset + length >= 3_010_000,
        );
        expect(holds).toBe(true);
      });
      await expectSameImage(source, way);
    }),
  );

  if (type === 'xfs')
    test.skipIf(why)(
      `an image of 8 EiB, which costs a hostile guest nothing, is refused by its size (fault 70)${skipped}`,
      () =>
        onIt(async (huge) => {
          await runTool('truncate', ['-s', '9223372036854775807', huge]);
          await expect(sha256OfFile(huge)).rejects.toThrow(/EFBIG.*9223372036854775807/);
        }),
    );
});

describe('copying an image', () => {
  test('whatever lies where, in the source or in the target, the copy and its checksum are the source', async () => {
    const piece = fc.record({ offset: fc.nat(2_000_000), length: fc.integer({ min: 1, max: 50_000 }) });
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(2_100_000), fc.array(piece, { maxLength: 8 }), async (sizeBytes, pieces) => {
        for (const way of [copySparse, copySparseWithDigest]) {
          const source = join(dir, `property-${++runs}`);
          await makeImage(source, sizeBytes, pieces);
          await expectSameImage(source, way, Buffer.alloc(2_500_000, 1));
        }
      }),
      { numRuns: 10 },
    );
  });

  test('an aborted one has stopped writing by the time it says so', async () => {
    // Work for minutes, with a write in every millisecond of its first seconds.
    const [source, target] = [join(dir, 'large'), join(dir, 'cut')];
    const pieces = Array.from({ length: 2048 }, (_, index) => ({ offset: index * 2 ** 20, length: 4096 }));
    await makeImage(source, 2 ** 40, pieces);
    const cut = new AbortController();
    const options = { signal: cut.signal, onProgress: () => cut.abort(new Error('enough')) };
    const copying = withOpen(source, 'r', (from) =>
      withOpen(target, 'wx+', (to) => copySparseWithDigest(from.fd, to.fd, options)),
    );
    await expect(copying).rejects.toThrow('enough');
    const { mtimeNs } = await stat(target, { bigint: true });
    await sha256OfFile(target, { signal: AbortSignal.timeout(300) }).catch(() => undefined);
    expect((await stat(target, { bigint: true })).mtimeNs).toBe(mtimeNs);
  });

  test('a source that became shorter is told, not padded with zeros', async () => {
    const source = join(dir, 'shrinking');
    await makeImage(source, 50_000);
    await withOpen(source, 'r', async ({ fd }) => {
      const read = () => readExtent(fd, { offset: 0, length: 100_000 }, Buffer.alloc(4096), () => {});
      expect(read).toThrow(/became shorter/);
    });
  });

  test('an error names the side it came from', async () => {
    await writeFile(join(dir, 'fine'), 'data');
    const failed = (from: string, to: string, flags: string) =>
      withOpen(join(dir, from), 'r', (source) =>
        withOpen(join(dir, to), flags, (target) => copySparseWithDigest(source.fd, target.fd)),
      ).catch(failedSide);
    expect(await failed('fine', 'fine', 'r')).toBe('target');
    expect(await failed('.', 'from-directory', 'w+')).toBe('source');
  });

  test('data is counted without being read', async () => {
    const path = join(dir, 'counted');
    await makeImage(path, 2 ** 40, [{ offset: 2 ** 39, length: 65_536 }]);
    await withOpen(path, 'r', async (file) => expect(await countDataBytes(file.fd)).toBe(65_536));
  });
});
