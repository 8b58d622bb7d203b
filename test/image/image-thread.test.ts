import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sha256OfFile, sha256OfOpenFile } from '../../src/image/digest.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';
import { makeImage, sha256sum, withOpen } from './make-image.js';

const dir = tempDirOfFile();
const threads = async () => new Set(await readdir('/proc/self/task'));

test('a work gets the thread of the one before, which costs as much to start as to hash 100 MiB', async () => {
  const path = join(dir, 'small');
  await writeFile(path, 'some data');
  // By all that this process has for files, too.
  await Promise.all(Array.from({ length: 16 }, () => sha256OfFile(path)));
  const before = await threads();
  for (let work = 0; work < 5; work++) {
    await withOpen(path, 'r', async ({ fd }) => {
      const hashing = sha256OfOpenFile(fd);
      expect([...(await threads())].filter((thread) => !before.has(thread))).toEqual([]);
      expect((await hashing).sha256).toBe(await sha256sum(path));
    });
  }
});

test('a thread whose work was broken off gets no other one, and the next work knows nothing of it', async () => {
  const [large, small] = [join(dir, 'large'), join(dir, 'other')];
  await makeImage(large, 2 ** 42);
  await writeFile(small, 'other data');
  for (let time = 0; time < 3; time++) {
    const cut = new AbortController();
    const options = { signal: cut.signal, onProgress: () => cut.abort(new Error('enough')) };
    const broken = withOpen(large, 'r', ({ fd }) => sha256OfOpenFile(fd, options));
    await expect(broken).rejects.toThrow('enough');
    expect(await sha256OfFile(small)).toBe(await sha256sum(small));
  }
});
