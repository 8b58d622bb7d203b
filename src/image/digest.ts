import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { runImageWork } from './image-thread.js';
import type { ImageWorkOptions } from './image-work.js';

/**
 * SHA-256 of a file's content in hex, equal to what `sha256sum` says; holes are hashed as zeros without being read. Works in
 * a thread of its own.
 * @throws Node's I/O errors, or the signal's reason
 */
export async function sha256OfFile(path: string, options: ImageWorkOptions = {}): Promise<string> {
  // O_NONBLOCK: opening a FIFO that was put in the file's place must not wait for a writer.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return (await sha256OfOpenFile(handle.fd, options)).sha256;
  } finally {
    await handle.close();
  }
}

/** As `sha256OfFile`, of a file that is open already; its size in bytes, and how many of them are data. */
export async function sha256OfOpenFile(
  fd: number,
  options: ImageWorkOptions = {},
): Promise<{ sha256: string; sizeBytes: number; dataBytes: number }> {
  const { throttled } = options;
  const work = { kind: 'digest' as const, fd, digest: 'whole' as const, ...(throttled && { throttled }) };
  const { sha256, sizeBytes, dataBytes } = await runImageWork(work, options);
  return { sha256: sha256 ?? '', sizeBytes, dataBytes };
}

/** As `sha256OfOpenFile`, and the digest of the data alone (`DataDigest`), in one read. */
export async function bothDigestsOfOpenFile(
  fd: number,
  options: ImageWorkOptions = {},
): Promise<{ sha256: string; dataSha256: string; sizeBytes: number }> {
  const { sha256, dataSha256, sizeBytes } = await runImageWork(
    { kind: 'digest', fd, digest: 'both' },
    options,
  );
  return { sha256: sha256 ?? '', dataSha256: dataSha256 ?? '', sizeBytes };
}
