import { createHash, type Hash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import type { ImageWork, ImageWorkResult, WorkerWord } from './image-work.js';
import { sampleCopyRate } from './sample-copy-rate.js';
import { dataExtents } from './sparse-map.js';
import { copyPass, fileSize, type Pass, type PassVisitor, passOver } from './sparse-pass.js';

/** The thread behind `runImageWork`: does the one piece of work that it was started for. */

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

function perform(work: ImageWork): Omit<ImageWorkResult, 'elapsedMs'> {
  switch (work.kind) {
    case 'copy': {
      const hash = work.digest ? createHash('sha256') : null;
      const pass = copyPass(work.sourceFd, work.targetFd, reporting(fileSize(work.sourceFd), hash));
      return { ...pass, sha256: hash?.digest('hex') ?? null };
    }
    case 'digest': {
      const hash = createHash('sha256');
      const pass = passOver(work.fd, reporting(fileSize(work.fd), hash));
      return { ...pass, sha256: hash.digest('hex') };
    }
    case 'countData':
      return { ...countData(work.fd), sha256: null };
    case 'copyRate':
      return { ...sampleCopyRate(work.sourceFd, work.targetFd, work), sha256: null };
  }
}

function countData(fd: number): Pass {
  const sizeBytes = fileSize(fd);
  let dataBytes = 0;
  for (const extent of dataExtents(fd, sizeBytes)) dataBytes += extent.length;
  return { sizeBytes, dataBytes };
}

/** Hashes what passes by, holes as the zeros that a reader would get, and reports how far it is. */
function reporting(sizeBytes: number, hash: Hash | null): PassVisitor {
  let doneBytes = 0;
  let reportedMs = performance.now();
  const advance = (length: number) => {
    doneBytes += length;
    if (performance.now() - reportedMs < progressEveryMs) return;
    reportedMs = performance.now();
    say({ is: 'progress', progress: { doneBytes, sizeBytes } });
  };
  return {
    hole(length) {
      if (hash === null) return advance(length);
      for (let rest = length; rest > 0; rest -= zeros.length) {
        const piece = Math.min(rest, zeros.length);
        hash.update(piece === zeros.length ? zeros : zeros.subarray(0, piece));
        advance(piece);
      }
    },
    data(chunk) {
      hash?.update(chunk);
      advance(chunk.length);
    },
  };
}

function say(word: WorkerWord): void {
  parentPort?.postMessage(word);
}
