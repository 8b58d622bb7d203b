import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sha256OfOpenFile } from '../../src/image/digest.js';
import type { ImageContent, ImagePiece } from '../../src/image/image-content.js';
import { newPace } from '../../src/image/pace.js';
import { digestContent } from '../../src/image/read-content.js';
import { withTempDir } from '../support/temp-dir.js';
import { makeImage, sha256sum, withOpen } from './make-image.js';

/** A rate is held from below: how much longer than that it takes is the machine's affair. */

const bytesPerSecond = 2 * 1024 ** 2;
const fileBytes = 256 * 1024;

/** Reads so much as three such files hold; after a time without work, what is read in 100 ms goes at once. */
async function expectHeld(read: () => Promise<unknown>): Promise<void> {
  const startedMs = performance.now();
  await read();
  expect(performance.now() - startedMs).toBeGreaterThan(((3 * fileBytes) / bytesPerSecond) * 1000 - 100);
}

describe('a rate', () => {
  test('holds over several files, each in a thread of its own, and not for each of them anew', () =>
    withTempDir(async (dir) => {
      const paths = ['a', 'b', 'c'].map((name) => join(dir, name));
      for (const path of paths) await makeImage(path, fileBytes * 4, [{ offset: 0, length: fileBytes }]);
      const throttled = newPace(bytesPerSecond);
      await expectHeld(async () => {
        for (const path of paths) {
          const read = await withOpen(path, 'r', ({ fd }) => sha256OfOpenFile(fd, { throttled }));
          // Holes are not read, and cost nothing of the rate.
          expect(read).toMatchObject({ sha256: await sha256sum(path), dataBytes: fileBytes });
        }
      });
    }));

  test('holds for what comes as a stream too', async () => {
    async function* pieces(): AsyncGenerator<ImagePiece> {
      for (let offset = 0; offset < 3 * fileBytes; offset += 65_536) {
        yield { offset, data: Buffer.alloc(65_536, 1) };
      }
    }
    const content: ImageContent = { from: 'stream', pieces: pieces(), close: async () => {} };
    await expectHeld(() => digestContent(content, 3 * fileBytes, { throttled: newPace(bytesPerSecond) }));
  });
});
