import { workerData } from 'node:worker_threads';
import { copyExtents } from './copy-extents.js';
import { failed, hashing, noDigests, reporter, say } from './hash-pass.js';
import type { DigestKind, ImageWork, ImageWorkResult, WorkerWord } from './image-work.js';
import { sampleCopyRate } from './sample-copy-rate.js';
import { dataExtents } from './sparse-map.js';
import { fileSize, makeHole, type Pass, passOver, writeFully } from './sparse-pass.js';

/** The thread behind `runImageWork`: does the one piece of work that it was started for. */

say({ is: 'ready' });
say(attempt(workerData as ImageWork));

function attempt(work: ImageWork): WorkerWord {
  const startedMs = performance.now();
  try {
    return { is: 'done', result: { ...perform(work), elapsedMs: performance.now() - startedMs } };
  } catch (error) {
    return failed(error);
  }
}

type Result = Omit<ImageWorkResult, 'elapsedMs'>;

function perform(work: ImageWork): Result {
  switch (work.kind) {
    case 'copy': {
      const report = reporter(fileSize(work.sourceFd));
      return { ...copyExtents(work.sourceFd, work.targetFd, undefined, report), ...noDigests };
    }
    case 'copyAndDigest':
      return copyAndDigest(work.sourceFd, work.targetFd, work.digest);
    case 'digest': {
      const sizeBytes = work.firstBytes ?? fileSize(work.fd);
      const hashes = hashing(work.digest, reporter(sizeBytes));
      const pass = passOver(work.fd, hashes, undefined, sizeBytes);
      return { ...pass, ...hashes.digests(pass.sizeBytes) };
    }
    case 'countData':
      return { ...countData(work.fd), ...noDigests };
    case 'copyRate':
      return { ...sampleCopyRate(work.sourceFd, work.targetFd, work), ...noDigests };
  }
}

/** One read for both. */
function copyAndDigest(sourceFd: number, targetFd: number, digest: DigestKind): Result {
  const sizeBytes = fileSize(sourceFd);
  const hashes = hashing(digest, reporter(sizeBytes));
  makeHole(targetFd, sizeBytes);
  const pass = passOver(sourceFd, {
    hole: hashes.hole,
    data: (chunk, offset) => {
      writeFully(targetFd, chunk, offset);
      hashes.data(chunk, offset);
    },
  });
  return { ...pass, ...hashes.digests(pass.sizeBytes) };
}

function countData(fd: number): Pass {
  const sizeBytes = fileSize(fd);
  let dataBytes = 0;
  for (const extent of dataExtents(fd, sizeBytes)) dataBytes += extent.length;
  return { sizeBytes, dataBytes };
}
