import type { FileHandle } from 'node:fs/promises';
import { sha256OfOpenFile } from './digest.js';
import type { ImageContent } from './image-content.js';
import type { ImageWorkOptions } from './image-work.js';
import { copySparseWithDigest } from './sparse-copy.js';
import { runStreamWork } from './stream-work.js';

/**
 * Copies an image to an open file, sparse, and hashes it in the same read, whichever way it comes. The target's old content is
 * dropped; nothing is made durable.
 * @param sizeBytes what the image has to have: a stream does not tell its own
 * @throws Node's I/O errors (see `failedSide`), what a stream throws, or the signal's reason
 */
export async function copyContent(
  content: ImageContent,
  sizeBytes: number,
  targetFd: number,
  options: ImageWorkOptions = {},
): Promise<{ sizeBytes: number; dataBytes: number; sha256: string }> {
  if (content.from === 'file') return await copySparseWithDigest(content.handle.fd, targetFd, options);
  const { dataBytes, sha256 } = await runStreamWork({ sizeBytes, targetFd }, content.pieces, options);
  return { sizeBytes, dataBytes, sha256: sha256 ?? '' };
}

/** SHA-256 of an image, holes as zeros, whichever way it comes. @param sizeBytes as for `copyContent` */
export async function digestContent(
  content: ImageContent,
  sizeBytes: number,
  options: ImageWorkOptions = {},
): Promise<{ sizeBytes: number; dataBytes: number; sha256: string }> {
  if (content.from === 'file') return await sha256OfOpenFile(content.handle.fd, options);
  const { dataBytes, sha256 } = await runStreamWork({ sizeBytes, targetFd: null }, content.pieces, options);
  return { sizeBytes, dataBytes, sha256: sha256 ?? '' };
}

/** An open file as an image to read. */
export function contentOfFile(handle: FileHandle): ImageContent {
  return { from: 'file', handle, close: () => handle.close() };
}
