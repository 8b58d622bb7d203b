import { createHash } from 'node:crypto';
import { workerData } from 'node:worker_threads';
import { setThreadUrgency } from '../urgency.js';
import { copyExtents } from './copy-extents.js';
import { failed, hashing, reporter, say } from './hash-pass.js';
import type { ImageWork, ImageWorkResult, WorkerWord } from './image-work.js';
import { forgetCached, setIdleIoPriority } from './linux-calls.js';
import { Pace, type PaceState } from './pace.js';
import { sampleCopyRate } from './sample-copy-rate.js';
import { dataExtents } from './sparse-map.js';
import { fileSize, makeHole, type Pass, type PassVisitor, passOver, writeFully } from './sparse-pass.js';

/** The thread behind `runImageWork`: does the one piece of work that it was started for. */

say(attempt(workerData as ImageWork));

function attempt(work: ImageWork): WorkerWord {
  const startedMs = performance.now();
  try {
    return { is: 'done', result: { ...perform(work), elapsedMs: performance.now() - startedMs } };
  } catch (error) {
    return failed(error);
  }
}

function perform(work: ImageWork): Omit<ImageWorkResult, 'elapsedMs'> {
  switch (work.kind) {
    case 'copy': {
      const report = reporter(fileSize(work.sourceFd));
      return { ...copyExtents(work.sourceFd, work.targetFd, undefined, report), sha256: null };
    }
    case 'copyAndDigest':
      return copyAndDigest(work.sourceFd, work.targetFd);
    case 'digest': {
      const hash = createHash('sha256');
      const visitor = hashing(hash, reporter(fileSize(work.fd)));
      const pass = passOver(work.fd, work.calmly ? calm(work.fd, work.calmly, visitor) : visitor);
      return { ...pass, sha256: hash.digest('hex') };
    }
    case 'countData':
      return { ...countData(work.fd), sha256: null };
    case 'copyRate':
      return { ...sampleCopyRate(work.sourceFd, work.targetFd, work), sha256: null };
  }
}

/** One read for both. */
function copyAndDigest(sourceFd: number, targetFd: number): Omit<ImageWorkResult, 'elapsedMs'> {
  const sizeBytes = fileSize(sourceFd);
  const hash = createHash('sha256');
  const { hole, data } = hashing(hash, reporter(sizeBytes));
  makeHole(targetFd, sizeBytes);
  const pass = passOver(sourceFd, {
    hole,
    data: (chunk, offset) => {
      writeFully(targetFd, chunk, offset);
      data(chunk, offset);
    },
  });
  return { ...pass, sha256: hash.digest('hex') };
}

function countData(fd: number): Pass {
  const sizeBytes = fileSize(fd);
  let dataBytes = 0;
  for (const extent of dataExtents(fd, sizeBytes)) dataBytes += extent.length;
  return { sizeBytes, dataBytes };
}

/** The same visitor, in nobody's way: see `ImageWorkOptions.calmly`. */
function calm(fd: number, state: PaceState, { hole, data }: PassVisitor): PassVisitor {
  setThreadUrgency('background');
  setIdleIoPriority();
  forgetCached(fd, 0, 0);
  const pace = new Pace(state);
  return {
    hole,
    data: (chunk, offset) => {
      data(chunk, offset);
      forgetCached(fd, offset, chunk.length);
      pace.spend(chunk.length);
    },
  };
}
