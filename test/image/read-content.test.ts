import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UmlsnapError } from '../../src/errors.js';
import type { ImageContent, ImagePiece } from '../../src/image/image-content.js';
import { contentOfFile, copyContent, digestContent } from '../../src/image/read-content.js';
import { failedSide } from '../../src/image/sparse-copy.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { allocatedBytes, imageShapes, makeImage, type Piece, sha256sum, withOpen } from './make-image.js';

let dir: string;
let copy: string;
beforeAll(async () => {
  dir = await makeTempDir();
  copy = join(dir, 'copy');
});
afterAll(() => removeTempDir(dir));

/** Reuses one buffer for all pieces, as a decoder does: what was given on must have been copied by then. */
async function* piecesOf(path: string, wanted: Piece[]): AsyncGenerator<ImagePiece> {
  const file = await open(path, 'r');
  const buffer = Buffer.alloc(70_000);
  try {
    for (const { offset, length } of wanted) {
      for (let at = offset; at < offset + length; ) {
        const size = Math.min(buffer.length, offset + length - at);
        await file.read(buffer, 0, size, at);
        yield { offset: at, data: buffer.subarray(0, size) };
        at += size;
      }
    }
  } finally {
    await file.close();
  }
}

function streamOf(pieces: AsyncIterable<ImagePiece>): ImageContent {
  return { from: 'stream', pieces, close: async () => {} };
}

async function* these(...pieces: ImagePiece[]): AsyncGenerator<ImagePiece> {
  yield* pieces;
}

const piece = (offset: number, length: number): ImagePiece => ({ offset, data: Buffer.alloc(length, 1) });

const copyOf = (content: ImageContent, sizeBytes: number, signal = new AbortController().signal) =>
  withOpen(copy, 'w+', (target) => copyContent(content, sizeBytes, target.fd, { signal }));

describe('an image that comes as a stream', () => {
  for (const { name, sizeBytes, pieces } of imageShapes) {
    test(`is the same as the file, byte for byte and hole for hole: ${name}`, async () => {
      const source = join(dir, 'source');
      await rm(source, { force: true });
      await makeImage(source, sizeBytes, pieces);
      const sha256 = await sha256sum(source);
      const dataBytes = pieces.reduce((sum, { length }) => sum + length, 0);
      expect(await copyOf(streamOf(piecesOf(source, pieces)), sizeBytes)).toMatchObject({
        sizeBytes,
        dataBytes,
        sha256,
      });
      expect(await sha256sum(copy)).toBe(sha256);
      expect(await allocatedBytes(copy)).toBeLessThanOrEqual((await allocatedBytes(source)) + 65_536);
      expect(await digestContent(streamOf(piecesOf(source, pieces)), sizeBytes)).toMatchObject({
        sizeBytes,
        sha256,
      });
      const asFile = await withOpen(source, 'r', (file) => digestContent(contentOfFile(file), 0));
      expect(asFile).toMatchObject({ sizeBytes, sha256 });
    });
  }

  test('drops what the target held before', async () => {
    await makeImage(join(dir, 'old'), 500_000, [{ offset: 0, length: 500_000 }]);
    const copied = await withOpen(join(dir, 'old'), 'r+', (target) =>
      copyContent(streamOf(these(piece(4096, 4096))), 300_000, target.fd),
    );
    expect(await sha256sum(join(dir, 'old'))).toBe(copied.sha256);
    expect(await allocatedBytes(join(dir, 'old'))).toBeLessThanOrEqual(8192);
  });

  const disorders: [string, ImagePiece[]][] = [
    ['goes back', [piece(8192, 10), piece(0, 10)]],
    ['gives the same bytes twice', [piece(0, 10), piece(5, 10)]],
    ['goes on beyond the end', [piece(99_995, 10)]],
  ];
  test.each(disorders)('is refused as a source that can not be read when it %s', async (_, pieces) => {
    const error = await copyOf(streamOf(these(...pieces)), 100_000).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'EBADMSG' });
    expect(failedSide(error)).toBe('source');
  });

  test('tells which side has failed: the stream, even by a write of its own, or the target', async () => {
    async function* failing(): AsyncGenerator<ImagePiece> {
      yield piece(0, 10);
      throw Object.assign(new Error('EPIPE: write'), { code: 'EPIPE', syscall: 'write' });
    }
    const broken = await copyOf(streamOf(failing()), 100_000).catch((thrown: unknown) => thrown);
    expect(broken).toMatchObject({ code: 'EPIPE' });
    expect(failedSide(broken)).toBe('source');
    const endless = (async function* () {
      for (let offset = 0; ; offset += 1_000_000) yield piece(offset, 1_000_000);
    })();
    const full = await withOpen('/dev/full', 'r+', (target) =>
      copyContent(streamOf(endless), 1e12, target.fd).catch((thrown: unknown) => thrown),
    );
    expect(failedSide(full)).toBe('target');
  });

  test('passes an error of the store on as it is', async () => {
    const damaged = new UmlsnapError('SnapshotDamaged', { snapshot: 'a@latest', problem: 'cut off' });
    async function* failing(): AsyncGenerator<ImagePiece> {
      yield piece(0, 10);
      throw damaged;
    }
    await expect(copyOf(streamOf(failing()), 100_000)).rejects.toBe(damaged);
  });

  test('that hangs keeps nobody who gives up', async () => {
    const giveUp = new AbortController();
    async function* hanging(): AsyncGenerator<ImagePiece> {
      yield piece(0, 10);
      setTimeout(() => giveUp.abort(new Error('enough')), 50);
      await new Promise(() => {});
    }
    await expect(copyOf(streamOf(hanging()), 100_000, giveUp.signal)).rejects.toThrow('enough');
  });
});

describe('work on an image that is given up', () => {
  test('at any moment of the start of its thread ends with the reason, and the process lives on', async () => {
    const source = join(dir, 'given-up');
    await makeImage(source, 1_000_000, [{ offset: 0, length: 100_000 }]);
    await withOpen(source, 'r', async (file) => {
      for (let waitMs = 0; waitMs < 120; waitMs += 12) {
        const signal = AbortSignal.timeout(waitMs);
        const digest = digestContent(contentOfFile(file), 0, { signal }).catch((reason: unknown) => reason);
        const hung = digestContent(streamOf(never()), 1000, { signal }).catch((reason: unknown) => reason);
        expect([await digest, await hung].at(1)).toBe(signal.reason);
      }
    });
  });
});

async function* never(): AsyncGenerator<ImagePiece> {
  await new Promise(() => {});
}
