import { fstatSync } from 'node:fs';
import { type CopyExtent, extentCopier } from '../../image/copy-extents.js';
import { copyRange } from '../../image/copy-range.js';
import { describeChange, type Stamp, toStamp } from '../../image/open-disk.js';
import type { CapturedDisk } from '../capture.js';
import { lookAtSource } from '../look-at-source.js';
import { BlockMap } from './block-map.js';
import { DiskTrouble } from './precopy-words.js';
import type { ThreadDisk } from './thread-words.js';

/** A disk and its copy, as the child's main thread has them: for what is done in the pause. */
export class PrecopyDisk {
  readonly blocks: BlockMap;
  /** Bytes that `copyMarked` has copied so far. */
  copiedBytes = 0;
  readonly #copyExtent: CopyExtent;
  readonly #copyRun = (offset: number, length: number) => this.#copy(offset, length);

  /** @param buffer for all disks together: one is copied after the other */
  constructor(
    readonly device: string,
    readonly sizeBytes: number,
    readonly sourceFd: number,
    readonly targetFd: number,
    buffer: Buffer,
  ) {
    this.blocks = BlockMap.ofSize(sizeBytes);
    this.#copyExtent = extentCopier(sourceFd, targetFd, buffer);
  }

  /** For another thread. */
  forThread(): ThreadDisk {
    const { device, sizeBytes, sourceFd, targetFd } = this;
    return { device, sizeBytes, sourceFd, targetFd, map: this.blocks.shared };
  }

  /** Takes what is marked, and copies it; `mayGoOn` is asked after each run. */
  copyMarked(mayGoOn?: () => boolean): void {
    this.blocks.take(this.#copyRun, mayGoOn);
  }

  /** @throws DiskTrouble for a source that is not the one that was armed */
  lookAtSource(): Stamp {
    const look = lookAtSource(this.sourceFd, this.sizeBytes);
    if ('stamp' in look) return look.stamp;
    throw new DiskTrouble({ is: 'changed', device: this.device, problem: look.problem });
  }

  /** After the last byte was copied. @throws DiskTrouble when the source is not as it was `before` */
  stamps(before: Stamp): CapturedDisk {
    const source = this.lookAtSource();
    const problem = describeChange(before, source);
    if (problem !== null) throw new DiskTrouble({ is: 'changed', device: this.device, problem });
    return { source, target: toStamp(fstatSync(this.targetFd, { bigint: true })) };
  }

  #copy(offset: number, length: number): void {
    copyRange(this, this.#copyExtent, { offset, length }, 'zeros');
    this.copiedBytes += length;
  }
}
