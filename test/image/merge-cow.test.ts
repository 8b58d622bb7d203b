import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cowHeaderBytes, parseCowHeader } from '../../src/image/cow-file.js';
import { runImageWork } from '../../src/image/image-thread.js';
import { mergeCow } from '../support/inspect-image.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { makeImage, withOpen } from './make-image.js';

/** COW files as UML's own tools make them, and as nobody should. */

let dir: string;
let base: string;
let cow: string;
let merged: string;
beforeEach(async () => {
  dir = await makeTempDir();
  [base, cow, merged] = [join(dir, 'base'), join(dir, 'cow'), join(dir, 'merged')];
});
afterEach(() => removeTempDir(dir));

const sector = 512;

interface Header {
  version: 2 | 3 | 4;
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

/** @throws Error when the COW file is none of a disk of this size */
async function layoutOf(sizeBytes: number) {
  const file = await readFile(cow);
  const parsed = parseCowHeader(file.subarray(0, cowHeaderBytes), file.length, sizeBytes);
  if ('problem' in parsed) throw new Error(parsed.problem);
  return parsed.layout;
}

async function merge(sizeBytes: number): Promise<void> {
  await runTool('cp', [base, merged]);
  const layout = await layoutOf(sizeBytes);
  await withOpen(cow, 'r', ({ fd: cowFd }) =>
    withOpen(merged, 'r+', ({ fd: targetFd }) => runImageWork({ kind: 'mergeCow', cowFd, targetFd, layout })),
  );
}

describe('a COW file', () => {
  test('and its backing file make the disk that uml_moo makes of them', async () => {
    const sizeBytes = 3_000_000 - (3_000_000 % sector);
    await makeImage(base, sizeBytes, [
      { offset: 0, length: 900_000 },
      { offset: 2_000_000, length: 5000 },
    ]);
    await runTool('uml_mkcow', [cow, base]);
    const { bitmapOffset, bitmapBytes, dataOffset } = await layoutOf(sizeBytes);
    const bitmap = Buffer.alloc(bitmapBytes);
    await withOpen(cow, 'r+', async (file) => {
      // Sectors of the guest: at the beginning, across bytes of the bitmap, one alone, one of zeros over data, and the last.
      for (const number of [0, 1, 2, 6, 7, 8, 9, 100, 1000, sizeBytes / sector - 1]) {
        const byte = Math.floor(number / 8);
        bitmap.writeUInt8(bitmap.readUInt8(byte) | (1 << (number % 8)), byte);
        const data = Buffer.alloc(sector, number === 1000 ? 0 : 1 + (number % 255));
        await file.write(data, 0, sector, dataOffset + number * sector);
      }
      await file.write(bitmap, 0, bitmapBytes, bitmapOffset);
    });
    await mergeCow(cow, base, join(dir, 'theirs'));
    await merge(sizeBytes);
    const ours = await readFile(merged);
    expect(ours.length).toBe(sizeBytes);
    expect(ours.equals(await readFile(join(dir, 'theirs')))).toBe(true);
    expect(ours.equals(await readFile(base))).toBe(false);
    expect(ours.subarray(1000 * sector, 1001 * sector).every((byte) => byte === 0)).toBe(true);
  });

  test.each<[string, Omit<Header, 'size'>, { bitmapOffset: number; dataOffset: number }]>([
    ['version 3', { version: 3 }, { bitmapOffset: 8192, dataOffset: 139_264 }],
    ['version 3 of before 2005', { version: 3, isOld: true }, { bitmapOffset: 8192, dataOffset: 139_264 }],
    ['version 2', { version: 2 }, { bitmapOffset: 4120, dataOffset: 135_680 }],
  ])('%s of 512 MiB has its parts where UML has them', (_, header, expected) => {
    const sizeBytes = 512 * 2 ** 20;
    const parsed = parseCowHeader(headerOf({ ...header, size: BigInt(sizeBytes) }), 2 ** 30, sizeBytes);
    expect(parsed).toMatchObject({ layout: { ...expected, sizeBytes, bitmapBytes: 131_072 } });
  });
});

describe('a header that a guest has forged is refused (fault 70): it', () => {
  const size = 2 ** 20;
  const good: Header = { version: 3, size: BigInt(size) };
  const forged = (changes: Partial<Header>) => headerOf({ ...good, ...changes });

  test.each<[string, Buffer, RegExp, number?]>([
    ['is none', Buffer.alloc(cowHeaderBytes, 1), /no COW header/],
    ['is cut short', forged({}).subarray(0, 100), /too short/, 100],
    ['has a version that nobody knows', forged({ version: 4 }), /version 4/],
    ['claims a disk of 2^60 bytes', forged({ size: 2n ** 60n }), /not one of a backing file of 1048576/],
    ['has sectors of no size', forged({ sectorBytes: 0 }), /not one of/],
    ['has sectors that are no power of two', forged({ sectorBytes: 513 }), /not one of/],
    ['has gigantic sectors', forged({ sectorBytes: 2 ** 31 }), /not one of/],
    ['is aligned to nothing', forged({ alignment: 0 }), /not one of/],
    ['is aligned to far beyond its end', forged({ alignment: 2 ** 31 }), /not one of/],
    ['ends within its bitmap', forged({}), /ends within its own bitmap/, 8200],
  ])('%s', (_, header, problem, fileBytes = 2 ** 21) => {
    expect(parseCowHeader(header, fileBytes, size)).toEqual({ problem: expect.stringMatching(problem) });
  });

  test('claims every sector of a file that has none of them: the disk is zeros, and takes no room', async () => {
    await makeImage(base, size, [{ offset: 0, length: size }]);
    await writeFile(cow, headerOf(good));
    await withOpen(cow, 'r+', (file) => file.write(Buffer.alloc(256, 0xff), 0, 256, 8192));
    await merge(size);
    expect((await readFile(merged)).every((byte) => byte === 0)).toBe(true);
    expect((await stat(merged)).blocks).toBeLessThan(16);
  });
});
