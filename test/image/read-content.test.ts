import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { UmlsnapError } from '../../src/errors.js';
import type { ImageContent, ImagePiece } from '../../src/image/image-content.js';
import { contentOfFile, copyContent, digestContent } from '../../src/image/read-content.js';
import { failedSide } from '../../src/image/sparse-copy.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';
import { allocatedBytes, imageShapes, makeImage, type Piece, sha256sum, withOpen } from './make-image.js';

const dir = tempDirOfFile();
const copy = join(dir, 'copy');

const streamOf = (pieces: AsyncIterable<ImagePiece>): ImageContent => {
  return { from: 'stream', pieces, close: async () => {} };
};

/** Reuses one buffer for all pieces, as a decoder does: what was given on must have been copied by then. */
async function* piecesOf(path: string, wanted: Piece[]): AsyncGenerator<ImagePiece> {
  const buffer = Buffer.alloc(70_000);
  for (const { offset, length } of wanted) {
    for (let at = offset; at < offset + length; at += buffer.length) {
      const data = buffer.subarray(0, Math.min(buffer.length, offset + length - at));
      await withOpen(path, 'r', (file) => file.read(data, 0, data.length, at));
      yield { offset: at, data };
    }
  }
}

const piece = (offset: number, length: number): ImagePiece => ({ offset, data: Buffer.alloc(length, 1) });

/** Gives these pieces, and then whatever comes of `end`. */
async function* these(pieces: ImagePiece[], end: () => unknown = () => {}): AsyncGenerator<ImagePiece> {
  yield* pieces;
  await end();
}

/** To a file that holds something else. */
async function copied(pieces: AsyncIterable<ImagePiece>, sizeBytes = 100_000) {
  await writeFile(copy, Buffer.alloc(500_000, 1));
  return await withOpen(copy, 'r+', (target) => copyContent(streamOf(pieces), sizeBytes, target.fd));
}

const failure = (copying: Promise<unknown>) =>
  copying.then(
    () => expect.fail('it was copied'),
    (error: unknown) => error,
  );

describe('an image that comes as a stream', () => {
  test.each(imageShapes)('is the same as the file, byte for byte and hole for hole: $name', async (shape) => {
    const { name, sizeBytes, pieces } = shape;
    const source = join(dir, name);
    await makeImage(source, sizeBytes, pieces);
    const sha256 = await sha256sum(source);
    const dataBytes = pieces.reduce((sum, { length }) => sum + length, 0);
    const same = { sizeBytes, dataBytes, sha256 };
    expect(await copied(piecesOf(source, pieces), sizeBytes)).toMatchObject(same);
    expect(await sha256sum(copy)).toBe(sha256);
    expect(await allocatedBytes(copy)).toBeLessThanOrEqual((await allocatedBytes(source)) + 65_536);
    expect(await digestContent(streamOf(piecesOf(source, pieces)), sizeBytes)).toMatchObject(same);
    const asFile = await withOpen(source, 'r', (file) => digestContent(contentOfFile(file), 0));
    expect(asFile).toMatchObject({ sizeBytes, sha256 });
  });

  test.each([
    ['goes back', [piece(8192, 10), piece(0, 10)]],
    ['gives the same bytes twice', [piece(0, 10), piece(5, 10)]],
    ['goes on beyond the end', [piece(99_995, 10)]],
  ])('is refused as a source that can not be read when it %s', async (_, pieces) => {
    const error = await failure(copied(these(pieces)));
    expect(error).toMatchObject({ code: 'EBADMSG' });
    expect(failedSide(error)).toBe('source');
  });

  test('tells which side has failed: the stream, even by a write of its own, or the target', async () => {
    const write = Object.assign(new Error('EPIPE: write'), { code: 'EPIPE', syscall: 'write' });
    const broken = await failure(copied(these([piece(0, 10)], () => Promise.reject(write))));
    expect(broken).toMatchObject({ code: 'EPIPE' });
    expect(failedSide(broken)).toBe('source');
    const endless = (async function* () {
      for (let offset = 0; ; offset += 1_000_000) yield piece(offset, 1_000_000);
    })();
    const full = withOpen('/dev/full', 'r+', ({ fd }) => copyContent(streamOf(endless), 1e12, fd));
    expect(failedSide(await failure(full))).toBe('target');
  });

  test('passes an error of the store on as it is', async () => {
    const damaged = new UmlsnapError('SnapshotDamaged', { snapshot: 'a@latest', problem: 'cut off' });
    expect(await failure(copied(these([piece(0, 10)], () => Promise.reject(damaged))))).toBe(damaged);
  });
});

test('work on an image that is given up at any moment of the start of its thread ends with the reason, and the process lives on', async () => {
  const source = join(dir, 'given-up');
  await makeImage(source, 1_000_000, [{ offset: 0, length: 100_000 }]);
  await withOpen(source, 'r', async (file) => {
    for (let waitMs = 0; waitMs < 120; waitMs += 12) {
      const signal = AbortSignal.timeout(waitMs);
      const never = streamOf(these([], () => new Promise(() => {})));
      const digest = digestContent(contentOfFile(file), 0, { signal }).catch((reason: unknown) => reason);
      const hung = digestContent(never, 1000, { signal }).catch((reason: unknown) => reason);
      await digest;
      expect(await hung).toBe(signal.reason);
    }
  });
});
