import { runImageWork } from './image-thread.js';
import type { DigestKind, Digests, ImageWorkOptions } from './image-work.js';

/**
 * Copies an image to an open file, data to data and holes to holes, in a thread of its own; the target's old content is
 * dropped and its size set. Nothing is made durable: that is the caller's fsync.
 * @returns how many bytes of data there were
 * @throws Node's I/O errors (see `failedSide`), or the signal's reason
 */
export async function copySparse(
  sourceFd: number,
  targetFd: number,
  options: ImageWorkOptions = {},
): Promise<{ dataBytes: number }> {
  const { throttled } = options;
  const work = { kind: 'copy' as const, sourceFd, targetFd, ...(throttled && { throttled }) };
  const { dataBytes } = await runImageWork(work, options);
  return { dataBytes };
}

/** As `copySparse`, and hashes in the same read. */
export async function copySparseWithDigest(
  sourceFd: number,
  targetFd: number,
  options: ImageWorkOptions = {},
  digest: DigestKind = 'whole',
): Promise<{ sizeBytes: number; dataBytes: number } & Digests> {
  return await runImageWork({ kind: 'copyAndDigest', sourceFd, targetFd, digest }, options);
}

/** How many bytes of the file are data: what a copy has to carry, and a store has to have room for. */
export async function countDataBytes(fd: number, options: ImageWorkOptions = {}): Promise<number> {
  return (await runImageWork({ kind: 'countData', fd }, options)).dataBytes;
}

/** Which file an error of these functions is about. */
export function failedSide(error: unknown): 'source' | 'target' {
  const { syscall } = error as NodeJS.ErrnoException;
  return syscall === 'write' || syscall === 'ftruncate' ? 'target' : 'source';
}
