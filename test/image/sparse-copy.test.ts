import { mkdir, open, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256OfFile } from '../../src/image/digest.js';
import { copySparse, copySparseWithDigest, countDataBytes, failedSide } from '../../src/image/sparse-copy.js';
import { dataExtents } from '../../src/image/sparse-map.js';
import { readExtent } from '../../src/image/sparse-pass.js';
import { type LoopFilesystem, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { allocatedBytes, imageShapes, makeImage, sha256sum, withOpen } from './make-image.js';

let dir: string;
beforeAll(async () => {
  dir = await makeTempDir();
});
afterAll(() => removeTempDir(dir));

const ways = { plainly: copySparse, withDigest: copySparseWithDigest };

/** Copies, in both ways if not told in which, and compares with what the host's own tools say. */
async function expectSameImage(source: string, copy: string, only?: keyof typeof ways): Promise<void> {
  const digest = await sha256sum(source);
  for (const way of only ? [ways[only]] : Object.values(ways)) {
    await rm(copy, { force: true });
    const copied = await withOpen(source, 'r', (from) => withOpen(copy, 'wx+', (to) => way(from.fd, to.fd)));
    expect((await tryTool('cmp', [source, copy])).output).toBe('');
    expect(await allocatedBytes(copy)).toBeLessThanOrEqual((await allocatedBytes(source)) + 65_536);
    if ('sha256' in copied) expect(copied.sha256).toBe(digest);
    else expect(await sha256OfFile(source)).toBe(digest);
  }
}

/** What each of them makes of holes and of room that is kept for later. */
describe.each([
  ['ext4', 'plainly'],
  ['xfs', 'withDigest'],
] as const)('on %s, %s', (type, way) => {
  const why = whyNoLoopMount(type);
  let filesystem: LoopFilesystem;
  beforeAll(async () => {
    if (why === undefined) filesystem = await mountLoopFilesystem({ type, sizeMiB: 300 });
  });
  afterAll(() => filesystem?.remove());
  const path = (name: string) => join(filesystem.mountPoint, name);

  test.skipIf(why)(
    `an image of any shape is copied byte for byte and hole for hole${why ? ` (skipped: ${why})` : ''}`,
    async () => {
      for (const { name, sizeBytes, pieces } of imageShapes) {
        await makeImage(path(name), sizeBytes, pieces);
        await expectSameImage(path(name), path('copy'), way);
      }
    },
  );

  test.skipIf(why)('data that is still dirty over preallocated room is not taken for a hole', async () => {
    const source = path('preallocated');
    await runTool('fallocate', ['-l', '8M', source]);
    await withOpen(source, 'r+', async (file) => {
      await file.write(Buffer.alloc(10_000, 'x'), 0, 10_000, 3_000_000);
      const extents = [...dataExtents(file.fd, 8 * 1024 ** 2)];
      const holds = extents.some(({ offset, length }) => offset <= 3_000_000 && offset + length >= 3_010_000);
      expect(holds).toBe(true);
    });
    await expectSameImage(source, path('preallocated-copy'), way);
  });

  if (type === 'xfs')
    test.skipIf(why)(
      'an image of 8 EiB, which costs a hostile guest nothing, is refused by its size',
      async () => {
        await runTool('truncate', ['-s', '9223372036854775807', path('huge')]);
        await expect(sha256OfFile(path('huge'))).rejects.toThrow(/EFBIG.*9223372036854775807/);
      },
    );
});

describe('copying an image', () => {
  test('whatever lies where, the copy and its checksum are the source', async () => {
    const piece = fc.record({ offset: fc.nat(2_000_000), length: fc.integer({ min: 1, max: 50_000 }) });
    await fc.assert(
      fc.asyncProperty(fc.nat(2_100_000), fc.array(piece, { maxLength: 8 }), async (sizeBytes, pieces) => {
        const run = join(dir, 'property');
        await mkdir(run);
        try {
          await makeImage(join(run, 'source'), sizeBytes, pieces);
          await expectSameImage(join(run, 'source'), join(run, 'copy'));
        } finally {
          await rm(run, { recursive: true });
        }
      }),
      { numRuns: 10 },
    );
  });

  test("what the target held before does not shine through the source's holes", async () => {
    const source = join(dir, 'hollow');
    const target = join(dir, 'full');
    await makeImage(source, 1_000_000, [{ offset: 500_000, length: 10 }]);
    await makeImage(target, 2_000_000, [{ offset: 0, length: 2_000_000 }]);
    await withOpen(source, 'r', (from) => withOpen(target, 'r+', (to) => copySparse(from.fd, to.fd)));
    expect((await tryTool('cmp', [source, target])).output).toBe('');
  });

  test('an aborted one has stopped writing by the time it says so', async () => {
    // Work for seconds, with a write in every millisecond of it.
    const source = join(dir, 'large');
    const pieces = Array.from({ length: 2048 }, (_, index) => ({ offset: index * 2 ** 20, length: 4096 }));
    await makeImage(source, 2 * 2 ** 30, pieces);
    const target = join(dir, 'cut');
    const cut = new AbortController();
    const reason = new Error('enough');
    await withOpen(source, 'r', (from) =>
      withOpen(target, 'wx+', async (to) => {
        const copying = copySparseWithDigest(from.fd, to.fd, {
          signal: cut.signal,
          onProgress: () => cut.abort(reason),
        });
        await expect(copying).rejects.toBe(reason);
      }),
    );
    const { mtimeNs } = await stat(target, { bigint: true });
    await sha256OfFile(target, { signal: AbortSignal.timeout(300) }).catch(() => undefined);
    expect((await stat(target, { bigint: true })).mtimeNs).toBe(mtimeNs);
  });

  test('a source that became shorter is told, not padded with zeros', async () => {
    const source = join(dir, 'shrinking');
    await makeImage(source, 100_000, [{ offset: 0, length: 100_000 }]);
    await withOpen(source, 'r', async (file) => {
      await truncate(source, 50_000);
      const read = () => readExtent(file.fd, { offset: 0, length: 100_000 }, Buffer.alloc(4096), () => {});
      expect(read).toThrow(/became shorter/);
    });
  });

  test('an error names the side it came from', async () => {
    const source = join(dir, 'fine');
    await makeImage(source, 100_000, [{ offset: 0, length: 100_000 }]);
    await withOpen(source, 'r', async (from) => {
      await withOpen(source, 'r', async (readOnly) => {
        const error = await copySparseWithDigest(from.fd, readOnly.fd).catch((thrown: unknown) => thrown);
        expect(failedSide(error)).toBe('target');
      });
      const directory = await open(dir, 'r');
      const target = await open(join(dir, 'from-directory'), 'wx+');
      const error = await copySparse(directory.fd, target.fd).catch((thrown: unknown) => thrown);
      await directory.close();
      await target.close();
      expect(failedSide(error)).toBe('source');
    });
  });

  test('data is counted without being read', async () => {
    const path = join(dir, 'counted');
    await makeImage(path, 2 ** 40, [{ offset: 2 ** 39, length: 65_536 }]);
    await withOpen(path, 'r', async (file) => expect(await countDataBytes(file.fd)).toBe(65_536));
  });
});
