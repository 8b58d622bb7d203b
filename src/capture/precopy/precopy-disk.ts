import { type CopyExtent, extentCopier } from '../../image/copy-extents.js';
import { copyRange } from '../../image/copy-range.js';
import { type DiskPair, onDisk } from '../capture-trouble.js';
import { BlockMap } from './block-map.js';
import type { HeldRest } from './held-rest.js';
import type { ThreadDisk } from './work-thread.js';

/** A disk and its copy, as the main thread of the capture process has them: for what is done in the pause. */
export class PrecopyDisk implements DiskPair {
  readonly guest: string;
  readonly device: string;
  readonly sizeBytes: number;
  readonly sourceFd: number;
  readonly targetFd: number;
  readonly blocks: BlockMap;
  /** Bytes that `copyMarked` has copied so far. */
  copiedBytes = 0;
  readonly #copyExtent: CopyExtent;
  readonly #copyRun = (offset: number, length: number) => this.#copy(offset, length);

  /** @param buffer for all disks together: one is copied after the other */
  constructor({ guest, device, sizeBytes, sourceFd, targetFd }: DiskPair, buffer: Buffer) {
    this.guest = guest;
    this.device = device;
    this.sizeBytes = sizeBytes;
    this.sourceFd = sourceFd;
    this.targetFd = targetFd;
    this.blocks = BlockMap.ofSize(sizeBytes);
    this.#copyExtent = extentCopier(sourceFd, targetFd, buffer);
  }

  /** For another thread. */
  forThread(): ThreadDisk {
    const { guest, device, sizeBytes, sourceFd, targetFd } = this;
    return { guest, device, sizeBytes, sourceFd, targetFd, map: this.blocks.shared };
  }

  /** Takes what is marked, and copies it; `mayGoOn` is asked after each run. @throws SourceChanged, CaptureFailed */
  copyMarked(mayGoOn?: () => boolean): void {
    onDisk(this, () => this.blocks.take(this.#copyRun, mayGoOn));
  }

  /** As `copyMarked`, into memory. What was held before it goes to the copy when there is no room: older than this, it MUST NOT come after. */
  holdMarked(rest: HeldRest, mayGoOn?: () => boolean): void {
    onDisk(this, () =>
      this.blocks.take((offset, length) => {
        this.copiedBytes += length;
        if (rest.take(this, offset, length)) return;
        rest.writeOut();
        rest.take(this, offset, length);
      }, mayGoOn),
    );
  }

  #copy(offset: number, length: number): void {
    copyRange(this, this.#copyExtent, { offset, length }, 'zeros');
    this.copiedBytes += length;
  }
}
