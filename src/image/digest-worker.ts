import { parentPort, workerData } from 'node:worker_threads';
import { DataDigest, WholeDigest } from './data-digest.js';
import type { DigestAnswer, DigestOrder, DigestRing } from './digest-thread.js';
import { slotBytes } from './digest-thread.js';

/** The thread behind `withDigestThread`. */

const { kind, memory } = workerData as DigestRing;
const digest = kind === 'data' ? new DataDigest() : new WholeDigest();
const ring = Buffer.from(memory);

parentPort?.on('message', (order: DigestOrder) => {
  if ('sizeBytes' in order) {
    answer({ sha256: digest.digest(order.sizeBytes) });
    return;
  }
  const start = order.slot * slotBytes;
  digest.update(order.offset, ring.subarray(start, start + order.length));
  answer({ freeSlot: order.slot });
});

function answer(word: DigestAnswer): void {
  parentPort?.postMessage(word);
}
