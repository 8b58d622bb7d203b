import { parentPort, workerData } from 'node:worker_threads';
import { failed, hashing, reporter, say } from './hash-pass.js';
import { makeHole, writeFully } from './sparse-pass.js';
import type { StreamBatch, StreamWork } from './stream-work.js';

/** The thread behind `runStreamWork`. */

say({ is: 'ready' });
const { sizeBytes, targetFd, digest } = workerData as StreamWork;
const startedMs = performance.now();
const pass = hashing(digest, reporter(sizeBytes));
let position = 0;
let dataBytes = 0;

attempt(() => {
  if (targetFd !== null) makeHole(targetFd, sizeBytes);
});
parentPort?.on('message', (batch: StreamBatch) => attempt(() => (batch === null ? finish() : take(batch))));

function take(batch: NonNullable<StreamBatch>): void {
  const data = Buffer.from(batch.data.buffer);
  let at = 0;
  for (const { offset, length } of batch.pieces) {
    takePiece(offset, data.subarray(at, at + length));
    at += length;
  }
  say({ is: 'taken' });
}

function takePiece(offset: number, chunk: Buffer): void {
  if (offset < position) throw disorder(`a piece at ${offset} comes after ${position}`);
  if (offset + chunk.length > sizeBytes) throw disorder(`it goes on beyond its ${sizeBytes} bytes`);
  if (offset > position) pass.hole(offset - position);
  if (targetFd !== null) writeFully(targetFd, chunk, offset);
  pass.data(chunk, offset);
  position = offset + chunk.length;
  dataBytes += chunk.length;
}

function finish(): void {
  if (sizeBytes > position) pass.hole(sizeBytes - position);
  const result = {
    sizeBytes,
    dataBytes,
    ...pass.digests(sizeBytes),
    elapsedMs: performance.now() - startedMs,
  };
  say({ is: 'done', result });
  parentPort?.close();
}

/** After a failure nothing more is taken: the thread ends. */
function attempt(work: () => void): void {
  try {
    work();
  } catch (error) {
    say(failed(error));
    parentPort?.close();
  }
}

function disorder(problem: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`EBADMSG: ${problem}, read`), { code: 'EBADMSG', syscall: 'read' });
}
