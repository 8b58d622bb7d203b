import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { DataDigest } from './data-digest.js';
import type { DigestKind, Digests, ThreadMessage } from './image-work.js';
import type { PassVisitor } from './sparse-pass.js';

/** What the threads that work on images have in common. */

const progressEveryMs = 200;
const zeros = Buffer.alloc(1024 * 1024);

export interface HashPass extends PassVisitor {
  /** Of an image of this size, once all of it has passed. */
  digests(sizeBytes: number): Digests;
}

/** Hashes what passes by. */
export function hashing(kind: DigestKind, report: (doneBytes: number) => void): HashPass {
  if (kind === 'whole') return hashingAll(report);
  if (kind === 'data') return hashingData(report);
  const all = hashingAll(report);
  const dataAlone = hashingData(() => {});
  return {
    hole: all.hole,
    data(chunk, offset) {
      all.data(chunk, offset);
      dataAlone.data(chunk, offset);
    },
    digests: (sizeBytes) => ({
      sha256: all.digests(sizeBytes).sha256,
      dataSha256: dataAlone.digests(sizeBytes).dataSha256,
    }),
  };
}

export const noDigests: Digests = { sha256: null, dataSha256: null };

function hashingData(report: (doneBytes: number) => void): HashPass {
  const digest = new DataDigest();
  return {
    hole: () => {},
    data(chunk, offset) {
      digest.update(offset, chunk);
      report(offset + chunk.length);
    },
    digests: (sizeBytes) => ({ sha256: null, dataSha256: digest.digest(sizeBytes) }),
  };
}

/** Holes as the zeros that a reader would get. */
function hashingAll(report: (doneBytes: number) => void): HashPass {
  const hash = createHash('sha256');
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
    digests: () => ({ sha256: hash.digest('hex'), dataSha256: null }),
  };
}

/** Says now and then how far the work is. */
export function reporter(sizeBytes: number): (doneBytes: number) => void {
  let reportedMs = performance.now();
  return (doneBytes) => {
    if (performance.now() - reportedMs < progressEveryMs) return;
    reportedMs = performance.now();
    send({ is: 'progress', progress: { doneBytes, sizeBytes } });
  };
}

export function send(message: ThreadMessage): void {
  parentPort?.postMessage(message);
}

/** An error's class does not survive the way between threads: what of it is told. */
export function failed(error: unknown): ThreadMessage {
  const { message, code, syscall } = error as NodeJS.ErrnoException;
  return { is: 'failed', message, code, syscall };
}
