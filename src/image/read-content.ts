import type { FileHandle } from 'node:fs/promises';
import type { ImageContent } from './image-content.js';
import { runImageWork } from './image-thread.js';
import type { DigestKind, Digests, ImageWorkOptions } from './image-work.js';
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
  digest: DigestKind = 'whole',
): Promise<{ sizeBytes: number; dataBytes: number } & Digests> {
  if (content.from === 'file')
    return await copySparseWithDigest(content.handle.fd, targetFd, options, digest);
  return await runStreamWork({ sizeBytes, targetFd, digest }, content.pieces, options);
}

/** SHA-256 of an image, whichever way it comes. @param sizeBytes as for `copyContent` */
export async function digestContent(
  content: ImageContent,
  sizeBytes: number,
  options: ImageWorkOptions = {},
  digest: DigestKind = 'whole',
): Promise<{ sizeBytes: number; dataBytes: number } & Digests> {
  if (content.from === 'stream') {
    return await runStreamWork({ sizeBytes, targetFd: null, digest }, content.pieces, options);
  }
  const { throttled } = options;
  const work = { kind: 'digest' as const, fd: content.handle.fd, digest, ...(throttled && { throttled }) };
  return await runImageWork(work, options);
}

/** An open file as an image to read. */
export function contentOfFile(handle: FileHandle): ImageContent {
  return { from: 'file', handle, close: () => handle.close() };
}
