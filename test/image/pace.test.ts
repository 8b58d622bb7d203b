import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256OfOpenFile } from '../../src/image/digest.js';
import type { ImageContent, ImagePiece } from '../../src/image/image-content.js';
import { newPace } from '../../src/image/pace.js';
import { digestContent } from '../../src/image/read-content.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { makeImage, sha256sum } from './make-image.js';

/** A rate is held from below: how much longer than that it takes is the machine's affair. */

const bytesPerSecond = 2 * 1024 ** 2;
const fileBytes = 256 * 1024;
/** After a time without work, so much goes at once. */
const burstMs = 100;

let dir: string;
beforeEach(async () => {
  dir = await makeTempDir();
});
afterEach(() => removeTempDir(dir));

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

describe('a rate', () => {
  test('holds over several files, each in a thread of its own, and not for each of them anew', async () => {
    const paths = ['a', 'b', 'c'].map((name) => join(dir, name));
    for (const path of paths) await makeImage(path, fileBytes * 4, [{ offset: 0, length: fileBytes }]);
    const calmly = newPace(bytesPerSecond);
    const tookMs = await timed(async () => {
      for (const path of paths) {
        const file = await open(path);
        const { sha256, dataBytes } = await sha256OfOpenFile(file.fd, { calmly }).finally(() => file.close());
        expect(sha256).toBe(await sha256sum(path));
        // Holes are not read, and cost nothing of the rate.
        expect(dataBytes).toBe(fileBytes);
      }
    });
    expect(tookMs).toBeGreaterThan(((3 * fileBytes) / bytesPerSecond) * 1000 - burstMs);
  });

  test('holds for what comes as a stream too', async () => {
    async function* pieces(): AsyncGenerator<ImagePiece> {
      for (let offset = 0; offset < 3 * fileBytes; offset += 65_536) {
        yield { offset, data: Buffer.alloc(65_536, 1) };
      }
    }
    const content: ImageContent = { from: 'stream', pieces: pieces(), close: async () => {} };
    const calmly = newPace(bytesPerSecond);
    const tookMs = await timed(() => digestContent(content, 3 * fileBytes, { calmly }));
    expect(tookMs).toBeGreaterThan(((3 * fileBytes) / bytesPerSecond) * 1000 - burstMs);
  });

  test('ends at once when the reading is given up', async () => {
    await makeImage(join(dir, 'a'), fileBytes * 64, [{ offset: 0, length: fileBytes * 64 }]);
    const file = await open(join(dir, 'a'));
    try {
      const abort = new AbortController();
      const onProgress = () => abort.abort(new Error('enough'));
      const options = { calmly: newPace(bytesPerSecond), signal: abort.signal, onProgress };
      await expect(sha256OfOpenFile(file.fd, options)).rejects.toThrow('enough');
    } finally {
      await file.close();
    }
  });
});
