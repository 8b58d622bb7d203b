import { type CopyExtent, extentCopier } from '../../image/copy-extents.js';
import { copyRange } from '../../image/copy-range.js';
import { Pace } from '../../image/pace.js';
import { dataExtents } from '../../image/sparse-map.js';
import { BlockMap } from './block-map.js';
import { onDisk, requireSame } from './disk-trouble.js';
import type { ThreadData, ThreadDisk, ThreadWord } from './thread-words.js';
import { WriteBack } from './write-back.js';

/** Between two pieces the rate limit and the store are waited for. */
const pieceBytes = 1024 * 1024;

interface BackgroundDisk extends ThreadDisk {
  blocks: BlockMap;
  copyExtent: CopyExtent;
  writeBack: WriteBack;
}

/** Copies while the guest runs: first everything, then again and again what was marked meanwhile. Blocking. */
export class BackgroundCopy {
  readonly #disks: BackgroundDisk[];
  readonly #pace: Pace;
  readonly #progress: BigInt64Array;
  #copiedBytes = 0;
  #waitedMs = 0;

  constructor(data: ThreadData, buffer: Buffer) {
    this.#pace = new Pace(data.bytesPerSecond);
    this.#progress = new BigInt64Array(data.progress);
    this.#disks = data.disks.map((disk) => ({
      ...disk,
      blocks: new BlockMap(disk.map),
      copyExtent: extentCopier(disk.sourceFd, disk.targetFd, buffer),
      writeBack: new WriteBack(disk.targetFd),
    }));
  }

  /** @throws DiskTrouble */
  bulk(): ThreadWord {
    return this.#measure(() => {
      for (const disk of this.#disks) {
        onDisk(disk, () => {
          for (const { offset, length } of dataExtents(disk.sourceFd, disk.sizeBytes)) {
            this.#copyExtent(disk, offset, length);
          }
          this.#waiting(() => disk.writeBack.bulkDone());
        });
      }
    });
  }

  /** Until nothing is marked, or the time is over. @throws DiskTrouble */
  round(limitMs: number): ThreadWord {
    const untilMs = performance.now() + limitMs;
    const mayGoOn = () => performance.now() < untilMs;
    return this.#measure(() => {
      for (const disk of this.#disks) {
        onDisk(disk, () => {
          if (mayGoOn())
            disk.blocks.take((offset, length) => this.#copyMarked(disk, offset, length), mayGoOn);
          this.#waiting(() => disk.writeBack.roundDone());
        });
      }
    });
  }

  #copyExtent(disk: BackgroundDisk, offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += pieceBytes) {
      const piece = Math.min(pieceBytes, offset + length - at);
      disk.copyExtent({ offset: at, length: piece });
      this.#pieceDone(disk, at, piece);
      // Not only at the end, which may be hours away.
      requireSame(disk);
      Atomics.add(this.#progress, 0, BigInt(piece));
    }
  }

  #copyMarked(disk: BackgroundDisk, offset: number, length: number): void {
    copyRange(disk, disk.copyExtent, { offset, length });
    this.#pieceDone(disk, offset, length);
  }

  #pieceDone(disk: BackgroundDisk, offset: number, length: number): void {
    this.#copiedBytes += length;
    this.#waiting(() => {
      disk.writeBack.copied(offset, length);
      this.#pace.spend(length);
    });
  }

  #waiting(wait: () => void): void {
    const startedMs = performance.now();
    wait();
    this.#waitedMs += performance.now() - startedMs;
  }

  #measure(work: () => void): ThreadWord {
    this.#copiedBytes = 0;
    this.#waitedMs = 0;
    const startedMs = performance.now();
    work();
    const busyMs = performance.now() - startedMs - this.#waitedMs;
    return { is: 'copied', copiedBytes: this.#copiedBytes, busyMs };
  }
}
