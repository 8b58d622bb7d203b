import { fdatasyncSync } from 'node:fs';
import { type CopyExtent, extentCopier } from '../../image/copy-extents.js';
import { copyRange } from '../../image/copy-range.js';
import { cloneFileBlocking, startWriteBack, writeBackBlocking } from '../../image/linux-calls.js';
import { Pace } from '../../image/pace.js';
import { dataExtents } from '../../image/sparse-map.js';
import { BlockMap } from './block-map.js';
import { onDisk, stampOf } from '../capture-trouble.js';
import type { ThreadAnswer, ThreadData, ThreadDisk } from './work-thread.js';

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

  /** @throws SourceChanged, CaptureFailed */
  bulk(): ThreadAnswer {
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

  /** Everything at once, by sharing blocks: what the guest writes meanwhile is marked, as with any copy. @throws SourceChanged, CaptureFailed */
  clone(): ThreadAnswer {
    return this.#measure(() => {
      for (const disk of this.#disks) {
        onDisk(disk, () => cloneFileBlocking(disk.sourceFd, disk.targetFd));
        Atomics.add(this.#progress, 0, BigInt(disk.sizeBytes));
      }
    });
  }

  /** Until nothing is marked, or the time is over. @throws SourceChanged, CaptureFailed */
  round(limitMs: number): ThreadAnswer {
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
      stampOf(disk);
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

  #measure(work: () => void): ThreadAnswer {
    this.#copiedBytes = 0;
    this.#waitedMs = 0;
    const startedMs = performance.now();
    work();
    const busyMs = performance.now() - startedMs - this.#waitedMs;
    return { type: 'copied', copiedBytes: this.#copiedBytes, busyMs };
  }
}

/** Dirty pages of a copy stay below about twice this. */
const windowBytes = 8 * 1024 * 1024;

interface Window {
  start: number;
  end: number;
  copiedBytes: number;
}

/**
 * Has the store write while it is copied to. Otherwise gigabytes of dirty pages pile up, and the kernel then holds back whoever
 * writes: the guest, or the last round in the pause. An error MUST fail the capture: the kernel tells it once, and the fsync
 * after the pause would not hear of it again.
 */
class WriteBack {
  #open: Window = newWindow();
  #underWay: Window | null = null;

  constructor(private readonly fd: number) {}

  /** After a stretch was copied; stretches come in order. */
  copied(offset: number, length: number): void {
    const window = this.#open;
    window.start = Math.min(window.start, offset);
    window.end = Math.max(window.end, offset + length);
    window.copiedBytes += length;
    if (window.copiedBytes < windowBytes) return;
    startWriteBack(this.fd, window.start, window.end - window.start);
    this.#wait();
    this.#underWay = window;
    this.#open = newWindow();
  }

  /** The end of a round; what is in the last window is little enough for the kernel to write when it likes. */
  roundDone(): void {
    this.#wait();
    this.#open = newWindow();
  }

  /** The end of the bulk: the rooms of the copy are allocated and its metadata written, so that the pause meets none of that. */
  bulkDone(): void {
    this.roundDone();
    fdatasyncSync(this.fd);
  }

  #wait(): void {
    if (this.#underWay === null) return;
    const { start, end } = this.#underWay;
    this.#underWay = null;
    writeBackBlocking(this.fd, start, end - start);
  }
}

function newWindow(): Window {
  return { start: Number.MAX_SAFE_INTEGER, end: 0, copiedBytes: 0 };
}
