import type { Stamp } from '../image/open-disk.js';
import { type CopyExtent, copyExtents, extentCopier } from '../image/copy-extents.js';
import type { Capture, CapturedDisks, CaptureProgress, Prediction } from './capture.js';
import { capturedDisks, type DiskPair, onDisk, requireUnchanged, stampOf } from './capture-trouble.js';
import { factsAtStart } from './precopy/precopy.js';

/** Copies the disks while the guest stands still, holes as holes: the copy is the pause. Not durable when it is done: fsync comes after `go`. */
export class WholeCopy implements Capture {
  readonly facts = factsAtStart(null, null);
  readonly isCheap = false;
  readonly wantsHostSync = false;
  readonly #pairs: DiskPair[];
  readonly #disks: { disk: DiskPair; copyExtent: CopyExtent }[];
  #before: Stamp[] = [];
  #captured: CapturedDisks = new Map();

  constructor(disks: DiskPair[]) {
    this.#pairs = disks;
    // Buffers are made now: nothing is allocated during the pause.
    this.#disks = disks.map((disk) => ({ disk, copyExtent: extentCopier(disk.sourceFd, disk.targetFd) }));
  }

  async syncOnHost(): Promise<void> {}

  progress(): CaptureProgress {
    return { doneBytes: 0, totalBytes: 0 };
  }

  lookAtTracking(): void {}

  async arm(): Promise<void> {}

  async catchUp(): Promise<Prediction | null> {
    for (const { disk } of this.#disks) stampOf(disk);
    return null;
  }

  keepUp(): boolean {
    return true;
  }

  takeAhead(): void {}

  takeRest(): void {
    this.#before = [];
    for (const { disk, copyExtent } of this.#disks) {
      this.#before.push(stampOf(disk));
      onDisk(disk, () => copyExtents(disk.sourceFd, disk.targetFd, copyExtent));
    }
  }

  prove(): void {
    requireUnchanged(this.#pairs, this.#before);
    this.#captured = capturedDisks(this.#pairs, this.#before);
  }

  finish(): CapturedDisks {
    return this.#captured;
  }

  end(): void {}
}
