import { runImageWork } from '../image/image-thread.js';
import { withScratchFile } from './scratch-file.js';

const maxBytes = 64 * 1024 * 1024;
const maxMs = 200;

/**
 * How fast this disk can be copied into this directory, in the way the capture does it: by samples spread over its data, at
 * most 64 MiB or 200 ms. A sample is written to the page cache, as the capture is: fsync comes after the pause.
 * @returns null when there is no data to measure with
 * @throws Node's I/O errors, or the signal's reason
 */
export async function measureCopyRate(
  sourceFd: number,
  directory: string,
  options: { signal?: AbortSignal } = {},
): Promise<{ bytesPerSecond: number } | null> {
  const { dataBytes, elapsedMs } = await withScratchFile(directory, (scratch) =>
    runImageWork({ kind: 'copyRate', sourceFd, targetFd: scratch.fd, maxBytes, maxMs }, options),
  );
  return dataBytes === 0 ? null : { bytesPerSecond: Math.round((dataBytes * 1000) / elapsedMs) };
}
