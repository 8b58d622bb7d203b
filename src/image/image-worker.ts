import { createHash, type Hash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { copyExtents } from './copy-extents.js';
import { DataDigest } from './data-digest.js';
import type { ImageWork, ImageWorkResult, WorkerWord } from './image-work.js';
import { sampleCopyRate } from './sample-copy-rate.js';
import { dataExtents } from './sparse-map.js';
import { fileSize, makeHole, type Pass, type PassVisitor, passOver, writeFully } from './sparse-pass.js';

/** The thread behind `runImageWork`: does the one piece of work that it was started for. */

type Result = Omit<ImageWorkResult, 'elapsedMs'>;
const noDigests = { sha256: null, dataSha256: null };

const progressEveryMs = 200;
const zeros = Buffer.alloc(1024 * 1024);

say(attempt(workerData as ImageWork));

function attempt(work: ImageWork): WorkerWord {
  const startedMs = performance.now();
  try {
    return { is: 'done', result: { ...perform(work), elapsedMs: performance.now() - startedMs } };
  } catch (error) {
    const { message, code, syscall } = error as NodeJS.ErrnoException;
    return { is: 'failed', message, code, syscall };
  }
}

function perform(work: ImageWork): Result {
  switch (work.kind) {
    case 'copy': {
      const report = reporter(fileSize(work.sourceFd));
      return { ...copyExtents(work.sourceFd, work.targetFd, undefined, report), ...noDigests };
    }
    case 'copyAndDigest':
      return copyAndDigest(work.sourceFd, work.targetFd);
    case 'digest': {
      const hash = createHash('sha256');
      const pass = passOver(work.fd, hashing(hash, fileSize(work.fd)));
      return { ...pass, sha256: hash.digest('hex'), dataSha256: null };
    }
    case 'bothDigests':
      return bothDigests(work.fd);
    case 'countData':
      return { ...countData(work.fd), ...noDigests };
    case 'copyRate':
      return { ...sampleCopyRate(work.sourceFd, work.targetFd, work), ...noDigests };
  }
}

/** One read for both. */
function copyAndDigest(sourceFd: number, targetFd: number): Result {
  const sizeBytes = fileSize(sourceFd);
  const hash = createHash('sha256');
  const { hole, data } = hashing(hash, sizeBytes);
  makeHole(targetFd, sizeBytes);
  const pass = passOver(sourceFd, {
    hole,
    data: (chunk, offset) => {
      writeFully(targetFd, chunk, offset);
      data(chunk, offset);
    },
  });
  return { ...pass, sha256: hash.digest('hex'), dataSha256: null };
}

/** One read for both. */
function bothDigests(fd: number): Result {
  const hash = createHash('sha256');
  const dataDigest = new DataDigest();
  const { hole, data } = hashing(hash, fileSize(fd));
  const pass = passOver(fd, {
    hole,
    data: (chunk, offset) => {
      data(chunk, offset);
      dataDigest.update(offset, chunk);
    },
  });
  return { ...pass, sha256: hash.digest('hex'), dataSha256: dataDigest.digest(pass.sizeBytes) };
}

function countData(fd: number): Pass {
  const sizeBytes = fileSize(fd);
  let dataBytes = 0;
  for (const extent of dataExtents(fd, sizeBytes)) dataBytes += extent.length;
  return { sizeBytes, dataBytes };
}

/** Hashes what passes by, holes as the zeros that a reader would get. */
function hashing(hash: Hash, sizeBytes: number): PassVisitor {
  const report = reporter(sizeBytes);
  let position = 0;
  return {
    hole(length) {
      const end = position + length;
      while (position < end) {
        const piece = Math.min(end - position, zeros.length);
        hash.update(piece === zeros.length ? zeros : zeros.subarray(0, piece));
        position += piece;
        report(position);
      }
    },
    data(chunk, offset) {
      hash.update(chunk);
      position = offset + chunk.length;
      report(position);
    },
  };
}

/** Says now and then how far the work is. */
function reporter(sizeBytes: number): (doneBytes: number) => void {
  let reportedMs = performance.now();
  return (doneBytes) => {
    if (performance.now() - reportedMs < progressEveryMs) return;
    reportedMs = performance.now();
    say({ is: 'progress', progress: { doneBytes, sizeBytes } });
  };
}

function say(word: WorkerWord): void {
  parentPort?.postMessage(word);
}
