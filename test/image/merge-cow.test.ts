import { open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cowHeaderBytes, parseCowHeader } from '../../src/image/cow-file.js';
import { runImageWork } from '../../src/image/image-work.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { makeImage, withOpen } from './make-image.js';

/** COW files as UML's own tools make them, and as nobody should. */

let dir: string;
beforeEach(async () => {
  dir = await makeTempDir();
});
afterEach(() => removeTempDir(dir));

const sector = 512;

interface Header {
  version: 2 | 3;
  size: bigint;
  sectorBytes?: number;
  alignment?: number;
  /** As 64-bit kernels wrote it before December 2005. */
  isOld?: boolean;
}

function headerOf({ version, size, sectorBytes = sector, alignment = 4096, isOld = false }: Header): Buffer {
  const header = Buffer.alloc(cowHeaderBytes);
  header.writeUInt32BE(0x4f4f4f4d, 0);
  header.writeUInt32BE(version, 4);
  const at = version === 2 ? 4108 : isOld ? 16 : 12;
  header.writeBigUInt64BE(size, at);
  header.writeUInt32BE(sectorBytes, at + 8);
  if (version === 3) header.writeUInt32BE(alignment, at + 12);
  return header;
}

describe('a COW file', () => {
  test('and its backing file make the disk that uml_moo makes of them', async () => {
    const sizeBytes = 3_000_000 - (3_000_000 % sector);
    const [base, cow, mine, theirs] = ['base', 'cow', 'mine', 'theirs'].map((name) => join(dir, name));
    await makeImage(base as string, sizeBytes, [
      { offset: 0, length: 900_000 },
      { offset: 2_000_000, length: 5000 },
    ]);
    await runTool('uml_mkcow', [cow as string, base as string]);
    // Sectors of the guest: at the beginning, across bytes of the bitmap, one alone, one of zeros over data, and the last.
    const sectors = [0, 1, 2, 6, 7, 8, 9, 100, 1000, sizeBytes / sector - 1];
    await writeSectors(cow as string, sizeBytes, sectors);
    await runTool('uml_moo', ['-b', base as string, cow as string, theirs as string]);
    await merge(cow as string, base as string, mine as string, sizeBytes);
    const [one, other] = await Promise.all([readFile(mine as string), readFile(theirs as string)]);
    expect(one.length).toBe(sizeBytes);
    expect(one.equals(other)).toBe(true);
    expect(one.equals(await readFile(base as string))).toBe(false);
    expect(one.subarray(1000 * sector, 1001 * sector).every((byte) => byte === 0)).toBe(true);
  });

  test.each([
    ['version 3', { version: 3 as const }, { bitmapOffset: 8192, dataOffset: 139_264 }],
    [
      'version 3 of before 2005',
      { version: 3 as const, isOld: true },
      { bitmapOffset: 8192, dataOffset: 139_264 },
    ],
    ['version 2', { version: 2 as const }, { bitmapOffset: 4120, dataOffset: 135_680 }],
  ])('%s of 512 MiB has its parts where UML has them', (_, header, expected) => {
    const size = 512 * 2 ** 20;
    const parsed = parseCowHeader(headerOf({ ...header, size: BigInt(size) }), 2 ** 30, size);
    expect(parsed).toMatchObject({ layout: { ...expected, sizeBytes: size, bitmapBytes: 131_072 } });
  });
});

describe('a header that a guest has forged is refused: it', () => {
  const size = 2 ** 20;
  const good: Header = { version: 3, size: BigInt(size) };
  const forged: [string, Buffer, number, RegExp][] = [
    ['is none', Buffer.alloc(cowHeaderBytes, 1), 2 ** 21, /no COW header/],
    ['is cut short', headerOf(good).subarray(0, 100), 100, /too short/],
    [
      'has a version that nobody knows',
      (() => {
        const it = headerOf(good);
        it.writeUInt32BE(4, 4);
        return it;
      })(),
      2 ** 21,
      /version 4/,
    ],
    [
      'makes the disk larger than its backing file',
      headerOf({ ...good, size: 2n ** 60n }),
      2 ** 21,
      /not one of a backing file of 1048576/,
    ],
    ['has sectors of no size', headerOf({ ...good, sectorBytes: 0 }), 2 ** 21, /not one of/],
    ['has sectors that are no power of two', headerOf({ ...good, sectorBytes: 513 }), 2 ** 21, /not one of/],
    ['has gigantic sectors', headerOf({ ...good, sectorBytes: 2 ** 31 }), 2 ** 21, /not one of/],
    ['is aligned to nothing', headerOf({ ...good, alignment: 0 }), 2 ** 21, /not one of/],
    ['is aligned to far beyond its end', headerOf({ ...good, alignment: 2 ** 31 }), 2 ** 21, /not one of/],
    ['ends within its bitmap', headerOf(good), 8200, /ends within its own bitmap/],
  ];

  test.each(forged)('%s', (_, header, fileBytes, problem) => {
    expect(parseCowHeader(header, fileBytes, size)).toEqual({ problem: expect.stringMatching(problem) });
  });

  test('claims every sector of a file that has none of them: the disk is zeros, and takes no room', async () => {
    const [base, cow, merged] = ['base', 'cow', 'merged'].map((name) => join(dir, name));
    await makeImage(base as string, size, [{ offset: 0, length: size }]);
    await writeFile(cow as string, headerOf(good));
    await withOpen(cow as string, 'r+', (file) => file.write(Buffer.alloc(256, 0xff), 0, 256, 8192));
    await merge(cow as string, base as string, merged as string, size);
    expect((await readFile(merged as string)).every((byte) => byte === 0)).toBe(true);
    expect((await stat(merged as string)).blocks).toBeLessThan(16);
  });
});

async function writeSectors(cow: string, sizeBytes: number, sectors: number[]): Promise<void> {
  const header = await readFile(cow);
  const parsed = parseCowHeader(header.subarray(0, cowHeaderBytes), header.length, sizeBytes);
  if ('problem' in parsed) throw new Error(parsed.problem);
  const { bitmapOffset, bitmapBytes, dataOffset } = parsed.layout;
  const bitmap = Buffer.alloc(bitmapBytes);
  await withOpen(cow, 'r+', async (file) => {
    for (const number of sectors) {
      const byte = Math.floor(number / 8);
      bitmap.writeUInt8(bitmap.readUInt8(byte) | (1 << (number % 8)), byte);
      const data = Buffer.alloc(sector, number === 1000 ? 0 : 1 + (number % 255));
      await file.write(data, 0, sector, dataOffset + number * sector);
    }
    await file.write(bitmap, 0, bitmapBytes, bitmapOffset);
  });
}

async function merge(cow: string, base: string, to: string, sizeBytes: number): Promise<void> {
  await runTool('cp', [base, to]);
  const [cowFile, target] = [await open(cow), await open(to, 'r+')];
  try {
    const header = Buffer.alloc(cowHeaderBytes);
    await cowFile.read(header, 0, cowHeaderBytes, 0);
    const parsed = parseCowHeader(header, (await cowFile.stat()).size, sizeBytes);
    if ('problem' in parsed) throw new Error(parsed.problem);
    await runImageWork({ kind: 'mergeCow', cowFd: cowFile.fd, targetFd: target.fd, layout: parsed.layout });
  } finally {
    await cowFile.close();
    await target.close();
  }
}
