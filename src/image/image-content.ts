import type { FileHandle } from 'node:fs/promises';

/** A stretch of an image that is data. */
export interface ImagePiece {
  offset: number;
  data: Buffer;
}

/**
 * The bytes of a stored image, for one reading. A file can be read anywhere, and tells its own holes; a stream comes from
 * its beginning to its end, data only, in rising order, and what lies between is zeros. Whoever opened it closes it.
 */
export type ImageContent =
  | { from: 'file'; handle: FileHandle; close(): Promise<void> }
  | { from: 'stream'; pieces: AsyncIterable<ImagePiece>; close(): Promise<void> };
