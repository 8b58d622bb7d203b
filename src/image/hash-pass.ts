import type { Hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import type { WorkerWord } from './image-work.js';
import type { PassVisitor } from './sparse-pass.js';

/** What the threads that work on images have in common. */

const progressEveryMs = 200;
const zeros = Buffer.alloc(1024 * 1024);

/** Hashes what passes by, holes as the zeros that a reader would get. */
export function hashing(hash: Hash, report: (doneBytes: number) => void): PassVisitor {
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
export function reporter(sizeBytes: number): (doneBytes: number) => void {
  let reportedMs = performance.now();
  return (doneBytes) => {
    if (performance.now() - reportedMs < progressEveryMs) return;
    reportedMs = performance.now();
    say({ is: 'progress', progress: { doneBytes, sizeBytes } });
  };
}

export function say(word: WorkerWord): void {
  parentPort?.postMessage(word);
}

/** An error's class does not survive the way between threads: what of it is told. */
export function failed(error: unknown): WorkerWord {
  const { message, code, syscall } = error as NodeJS.ErrnoException;
  return { is: 'failed', message, code, syscall };
}
