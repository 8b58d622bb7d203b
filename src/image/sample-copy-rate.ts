import { extentCopier } from './copy-extents.js';
import { dataExtents } from './sparse-map.js';
import { fileSize, type Pass } from './sparse-pass.js';

const sampleBytes = 4 * 1024 * 1024;

/**
 * Copies samples that are spread evenly over the source's data, until `maxBytes` or `maxMs` is reached. Spread, because the
 * start of an image often is in the page cache while the rest is not, and the whole would then look faster than it is.
 */
export function sampleCopyRate(
  sourceFd: number,
  targetFd: number,
  limits: { maxBytes: number; maxMs: number },
): Pass {
  const extents = [...dataExtents(sourceFd, fileSize(sourceFd))];
  const totalBytes = extents.reduce((sum, extent) => sum + extent.length, 0);
  const samples = Math.ceil(Math.min(limits.maxBytes, totalBytes) / sampleBytes);
  const strideBytes = Math.max(sampleBytes, totalBytes / Math.max(samples, 1));
  const copyExtent = extentCopier(sourceFd, targetFd);
  const stopAtMs = performance.now() + limits.maxMs;
  let copiedBytes = 0;
  let passedBytes = 0;
  for (const extent of extents) {
    let nextSample = Math.ceil(passedBytes / strideBytes) * strideBytes;
    for (; nextSample < passedBytes + extent.length; nextSample += strideBytes) {
      const offset = Math.floor(extent.offset + nextSample - passedBytes);
      const length = Math.min(sampleBytes, extent.offset + extent.length - offset);
      copyExtent({ offset, length });
      copiedBytes += length;
      if (performance.now() >= stopAtMs) return { sizeBytes: totalBytes, dataBytes: copiedBytes };
    }
    passedBytes += extent.length;
  }
  return { sizeBytes: totalBytes, dataBytes: copiedBytes };
}
