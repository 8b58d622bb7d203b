import { parentPort } from 'node:worker_threads';
import { setThreadPriority } from '../priority.js';
import { copyExtents, kernelChunkBytes } from './copy-extents.js';
import { bitmapPieces, countMixedGroups } from './cow-bitmap.js';
import { failed, hashing, noDigests, reporter, send } from './hash-pass.js';
import type { DigestKind, ImageWork, ImageWorkResult, ThreadRequest } from './image-work.js';
import { forgetCached, setIdleIoPriority } from './linux-calls.js';
import { mergeCow } from './merge-cow.js';
import { Pace, type PaceState } from './pace.js';
import { sampleCopyRate } from './sample-copy-rate.js';
import { dataExtents } from './sparse-map.js';
import { fileSize, makeHole, type Pass, type PassVisitor, passOver, writeFully } from './sparse-pass.js';
import { StreamPass } from './stream-pass.js';

/** The thread behind `runImageWork` and `runStreamWork`: does one work after the other. */

/** What is read at once where a rate is to be held. */
const minPieceBytes = 16 * 1024;
const maxPieceBytes = 1024 * 1024;

let stream: StreamPass | null = null;
let startedMs = 0;

parentPort?.on('message', (request: ThreadRequest) => {
  try {
    const result = handle(request);
    if (result !== null)
      send({ is: 'done', result: { ...result, elapsedMs: performance.now() - startedMs } });
  } catch (error) {
    // What is still on the way to it is of no use to it.
    stream = null;
    send(failed(error));
  }
});
send({ is: 'ready' });

/** null as long as more is to come. */
function handle(request: ThreadRequest): Result | null {
  switch (request.kind) {
    case 'stream':
      startedMs = performance.now();
      stream = new StreamPass(request);
      return null;
    case 'batch':
      stream?.take(request);
      return null;
    case 'endOfStream':
      return stream?.finish() ?? null;
    default:
      startedMs = performance.now();
      return perform(request);
  }
}

type Result = Omit<ImageWorkResult, 'elapsedMs'>;

function perform(work: ImageWork): Result {
  switch (work.kind) {
    case 'copy': {
      const report = reporter(fileSize(work.sourceFd));
      const onCopied = work.throttled ? throttledCopy(work.sourceFd, work.throttled, report) : report;
      return { ...copyExtents(work.sourceFd, work.targetFd, undefined, onCopied), ...noDigests };
    }
    case 'copyAndDigest':
      return copyAndDigest(work.sourceFd, work.targetFd, work.digest);
    case 'digest': {
      const sizeBytes = work.firstBytes ?? fileSize(work.fd);
      const hashes = hashing(work.digest, reporter(sizeBytes));
      const pass = work.throttled
        ? passThrottled(work.fd, work.throttled, hashes, sizeBytes)
        : passOver(work.fd, hashes, undefined, sizeBytes);
      return { ...pass, ...hashes.digests(pass.sizeBytes) };
    }
    case 'mergeCow': {
      const { cowFd, targetFd, layout, throttled } = work;
      if (throttled) lowerPriority();
      const dataBytes = mergeCow(cowFd, targetFd, layout);
      return { sizeBytes: layout.sizeBytes, dataBytes, ...noDigests };
    }
    case 'countMixedGroups': {
      const { cowFd, layout } = work;
      const mixed = countMixedGroups(bitmapPieces(cowFd, layout), layout);
      return { sizeBytes: layout.sizeBytes, dataBytes: 0, ...noDigests, mixed };
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

/** Passes over a file in nobody's way: see `ImageWorkOptions.throttled`. */
function passThrottled(fd: number, state: PaceState, { hole, data }: PassVisitor, sizeBytes: number): Pass {
  const pace = startThrottled(fd, state);
  const visitor: PassVisitor = {
    hole,
    data: (chunk, offset) => {
      data(chunk, offset);
      forgetCached(fd, offset, chunk.length);
      pace.spend(chunk.length);
    },
  };
  // In pieces that take no longer than a moment each, so that what is told of them is no older.
  const { bytesPerSecond } = state;
  const pieceBytes = Math.min(
    maxPieceBytes,
    Math.max(minPieceBytes, Math.ceil((bytesPerSecond ?? Infinity) / 4)),
  );
  return passOver(fd, visitor, Buffer.allocUnsafeSlow(pieceBytes), sizeBytes);
}

/** The same for a copy, which tells where it has come to. */
function throttledCopy(
  fd: number,
  state: PaceState,
  report: (endOffset: number) => void,
): (endOffset: number) => void {
  const pace = startThrottled(fd, state);
  let doneBytes = 0;
  return (endOffset) => {
    report(endOffset);
    // With the holes between: a copy in the kernel does not tell of them, and they are few where this matters.
    pace.spend(Math.max(0, Math.min(endOffset - doneBytes, kernelChunkBytes)));
    doneBytes = endOffset;
  };
}

function startThrottled(fd: number, state: PaceState): Pace {
  lowerPriority();
  forgetCached(fd, 0, 0);
  return new Pace(state);
}

function lowerPriority(): void {
  setThreadPriority('background');
  setIdleIoPriority();
}
