import { onDisk } from './disk-trouble.js';
import type { Follower } from './follower.js';
import type { PrecopyDisk } from './precopy-disk.js';

const keepUpLimitMs = 1000;
const sliceMs = 1;

/**
 * Goes on copying what is marked, from the last catching up until the pause takes over: on the way to the stop, and while what
 * was queued is written and the guest is looked at. What is left for the last round is then little, however fast the guest is.
 */
export class KeepingUp {
  readonly #disks: PrecopyDisk[];
  readonly #follower: Follower;
  readonly #untilMs = performance.now() + keepUpLimitMs;
  #isOver = false;
  #failure: { error: unknown } | null = null;

  constructor(disks: PrecopyDisk[], follower: Follower) {
    this.#disks = disks;
    this.#follower = follower;
    setImmediate(() => this.#step());
  }

  #step(): void {
    if (this.#isOver || performance.now() > this.#untilMs) return;
    // A doubt shows again in whatever is done next.
    if (this.#follower.follow() !== null) return;
    const sliceEndMs = performance.now() + sliceMs;
    let hasCopied = false;
    try {
      for (const disk of this.#disks) {
        const copiedBefore = disk.copiedBytes;
        onDisk(disk, () => disk.copyMarked(() => performance.now() < sliceEndMs));
        hasCopied ||= disk.copiedBytes > copiedBefore;
      }
    } catch (error) {
      this.#failure = { error };
      return;
    }
    if (hasCopied) setImmediate(() => this.#step());
    else setTimeout(() => this.#step(), sliceMs);
  }

  /** @throws DiskTrouble that was met on the way */
  end(): void {
    this.#isOver = true;
    if (this.#failure) throw this.#failure.error;
  }
}
