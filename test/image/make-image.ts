import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, writeSync } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';

export interface Piece {
  offset: number;
  length: number;
}

/** Makes an image of this size that holds random data in these places and holes elsewhere. */
export async function makeImage(path: string, sizeBytes: number, pieces: Piece[] = []): Promise<void> {
  await withOpen(path, 'wx', async (image) => {
    await image.truncate(sizeBytes);
    for (const { offset, length } of pieces) writeSync(image.fd, randomBytes(length), 0, length, offset);
  });
}

function shape(name: string, sizeBytes: number, ...pieces: [offset: number, length: number][]) {
  return { name, sizeBytes, pieces: pieces.map(([offset, length]) => ({ offset, length })) };
}

const small = Array.from({ length: 200 }, (_, index): [number, number] => [index * 32_768, 4096]);

/** What a disk can look like: each of these has lost a byte in somebody's copy program. */
export const imageShapes = [
  shape('empty', 0),
  shape('one byte', 1, [0, 1]),
  shape('all hole', 5_000_001),
  shape('all data, not a whole number of blocks', 3_000_007, [0, 3_000_007]),
  shape(
    'data, hole, data, a last block not whole',
    12_000_123,
    [0, 100],
    [8_388_608, 2_500_000],
    [11_999_000, 1_123],
  ),
  shape('data only before a hole at the end', 6_000_000, [4096, 70_000]),
  shape('two hundred small pieces', 6_553_600, ...small),
];

export async function withOpen<T>(
  path: string,
  flags: string,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags);
  return await use(file).finally(() => file.close());
}

/** Of all bytes as a plain reader gets them. The program of this name says the same, and takes seven times as long. */
export async function sha256sum(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  return hash.digest('hex');
}

/** Really allocated, in bytes. */
export async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}
