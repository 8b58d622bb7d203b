import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { type FileHandle, open, stat, writeFile } from 'node:fs/promises';
import { runTool } from '../support/run-tool.js';

export interface Piece {
  offset: number;
  length: number;
}

/** Makes an image of this size that holds random data in these places and holes elsewhere. */
export async function makeImage(path: string, sizeBytes: number, pieces: Piece[] = []): Promise<void> {
  const image = await open(path, 'wx');
  try {
    await image.truncate(sizeBytes);
    for (const { offset, length } of pieces) writeSync(image.fd, randomBytes(length), 0, length, offset);
  } finally {
    await image.close();
  }
}

/** What a disk can look like: each of these has lost a byte in somebody's copy program. */
export const imageShapes: { name: string; sizeBytes: number; pieces: Piece[] }[] = [
  { name: 'empty', sizeBytes: 0, pieces: [] },
  { name: 'one byte', sizeBytes: 1, pieces: [{ offset: 0, length: 1 }] },
  { name: 'all hole', sizeBytes: 5_000_001, pieces: [] },
  {
    name: 'all data, not a whole number of blocks',
    sizeBytes: 3_000_007,
    pieces: [{ offset: 0, length: 3_000_007 }],
  },
  {
    name: 'data, hole, data, and a last block that is not whole',
    sizeBytes: 12_000_123,
    pieces: [
      { offset: 0, length: 100 },
      { offset: 8_388_608, length: 2_500_000 },
      { offset: 11_999_000, length: 1_123 },
    ],
  },
  {
    name: 'data only before a hole at the end',
    sizeBytes: 6_000_000,
    pieces: [{ offset: 4096, length: 70_000 }],
  },
  {
    name: 'two hundred small pieces',
    sizeBytes: 6_553_600,
    pieces: Array.from({ length: 200 }, (_, index) => ({ offset: index * 32_768, length: 4096 })),
  },
];

/** An ext4 of 256 MiB with inodes enough for its check to take a while. */
export async function makeLargeExt4(path: string, inodes: number): Promise<void> {
  await writeFile(path, '');
  const kind = ['-q', '-F', '-t', 'ext4', '-E', 'lazy_itable_init=0'];
  await runTool('mke2fs', [...kind, '-N', String(inodes), path, '256M']);
}

export async function withOpen<T>(
  path: string,
  flags: string,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** What `sha256sum` says. */
export async function sha256sum(path: string): Promise<string> {
  return (await runTool('sha256sum', [path])).toString().slice(0, 64);
}

/** Really allocated, in bytes. */
export async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}
