import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

const maxBytes = 256 * 1024;

/**
 * The text of a small file of ours in a place that its server can change: a FIFO is not waited for, a link not followed, and what has grown
 * beyond all belief not read.
 * @throws Error, or Node's errors
 */
export async function readSmallFile(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new Error('it is not a regular file');
    const { bytesRead, buffer } = await file.read(Buffer.alloc(maxBytes + 1), 0, maxBytes + 1, 0);
    if (bytesRead > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
