import { copyInKernel } from './linux-calls.js';
import { dataExtents, type Extent } from './sparse-map.js';
import { fileSize, makeHole, newBuffer, type Pass, readExtent, writeFully } from './sparse-pass.js';

/** At most this much in one system call: a few milliseconds, between which an end by force is noticed. */
export const kernelChunkBytes = 16 * 1024 * 1024;

/**
 * Copies data to data and holes to holes; the target gets the source's size, and loses what it held. Blocking: the synchronous
 * core of every plain copy.
 */
export function copyExtents(
  sourceFd: number,
  targetFd: number,
  copyExtent = extentCopier(sourceFd, targetFd),
  onCopied?: (endOffset: number) => void,
): Pass {
  const sizeBytes = fileSize(sourceFd);
  makeHole(targetFd, sizeBytes);
  let dataBytes = 0;
  for (const extent of dataExtents(sourceFd, sizeBytes)) {
    copyExtent(extent, onCopied);
    dataBytes += extent.length;
  }
  return { sizeBytes, dataBytes };
}

export type CopyExtent = (extent: Extent, onCopied?: (endOffset: number) => void) => void;

/**
 * The fastest way from one file to the other: within the kernel, and by reading and writing from the first time on that the
 * kernel would not. An error thus always comes from a read or a write, which name their side. Copiers of one thread may share a
 * buffer.
 */
export function extentCopier(sourceFd: number, targetFd: number, buffer = newBuffer()): CopyExtent {
  let inKernel = true;
  return (extent, onCopied) => {
    const end = extent.offset + extent.length;
    let offset = extent.offset;
    while (inKernel && offset < end) {
      const copied = copyInKernel(sourceFd, targetFd, offset, Math.min(kernelChunkBytes, end - offset));
      inKernel = copied > 0;
      offset += copied;
      onCopied?.(offset);
    }
    if (offset === end) return;
    readExtent(sourceFd, { offset, length: end - offset }, buffer, (chunk, at) => {
      writeFully(targetFd, chunk, at);
      onCopied?.(at + chunk.length);
    });
  };
}
