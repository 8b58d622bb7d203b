import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf } from '../../src/errors.js';

/** Takes all room of a filesystem but some, with a file; gives its path. */
export async function fillUpTo(path: string, leftKib: number): Promise<string> {
  const file = await open(path, 'w');
  let written = 0;
  try {
    written = await fillWith(file, 1024 * 1024, 0);
    written += await fillWith(file, 4096, written);
  } finally {
    await file.truncate(Math.max(0, written - leftKib * 1024));
    await file.sync();
    await file.close();
  }
  return path;
}

async function fillWith(file: FileHandle, chunkBytes: number, from: number): Promise<number> {
  const chunk = Buffer.alloc(chunkBytes, 1);
  for (let written = 0; ; ) {
    try {
      written += (await file.write(chunk, 0, chunkBytes, from + written)).bytesWritten;
    } catch (error) {
      if (errnoOf(error) === 'ENOSPC') return written;
      throw error;
    }
  }
}
