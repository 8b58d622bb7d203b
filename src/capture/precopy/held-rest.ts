import { readSync } from 'node:fs';
import { makeRangeHole } from '../../image/copy-range.js';
import { nextData, nextHole } from '../../image/sparse-map.js';
import { writeFully } from '../../image/sparse-pass.js';
import { type DiskPair, onStore } from '../capture-trouble.js';

/** What has no room here is written to the store in the pause. Taken from the system when it is needed. */
const defaultBytes = 128 * 1024 * 1024;
/** What a guest at full speed writes in some milliseconds. */
const readyBytes = 4 * 1024 * 1024;
const pageBytes = 4096;

type HeldPart =
  | { type: 'data'; disk: DiskPair; offset: number; bytes: Buffer }
  | { type: 'hole'; disk: DiskPair; offset: number; length: number };

/**
 * What the guest wrote last, read into memory while it stands still and written to its copies when it runs again: the pause never waits
 * for the store, which may hold back whoever writes, for tenths of a second, while a guest at full speed fills the host's memory.
 */
export class HeldRest {
  readonly #buffer: Buffer;
  #usedBytes = 0;
  #parts: HeldPart[] = [];

  constructor(heldBytes = defaultBytes) {
    this.#buffer = Buffer.allocUnsafeSlow(heldBytes);
  }

  /** Of the room, so much that nothing should be held before the pause for the sake of more. */
  get isHalfFull(): boolean {
    return this.#usedBytes > this.#buffer.length / 2;
  }

  /** Gets the pages for what the pause will hold: each costs a fraction of a microsecond when it is touched first. */
  makeReady(): void {
    const end = Math.min(this.#usedBytes + readyBytes, this.#buffer.length);
    for (let at = this.#usedBytes; at < end; at += pageBytes) this.#buffer[at] = 1;
  }

  /**
   * Reads a stretch of a disk. Blocking: a part of the pause. What is read again later takes the place of what was read before.
   * @returns false when there is no room for all of it: then none of it is held
   */
  take(disk: DiskPair, offset: number, length: number): boolean {
    if (length > this.#buffer.length - this.#usedBytes) return false;
    const end = offset + length;
    let position = offset;
    while (position < end) {
      const data = Math.min(nextData(disk.sourceFd, position) ?? end, end);
      if (data > position)
        this.#parts.push({ type: 'hole', disk, offset: position, length: data - position });
      if (data === end) break;
      position = Math.min(nextHole(disk.sourceFd, data) ?? end, end);
      this.#read(disk, data, position - data);
    }
    return true;
  }

  /** For a capture that is void: what is held MUST NOT come over what is captured later. */
  drop(): void {
    this.#parts = [];
    this.#usedBytes = 0;
  }

  /** Writes what is held to the copies, in the order in which it was read, and holds nothing any more. Blocking. @throws CaptureFailed */
  writeOut(): void {
    const parts = this.#parts;
    this.drop();
    for (const part of parts) {
      const { disk, offset } = part;
      onStore(disk, () => {
        if (part.type === 'data') writeFully(disk.targetFd, part.bytes, offset);
        else makeRangeHole(disk.targetFd, offset, part.length);
      });
    }
  }

  #read(disk: DiskPair, offset: number, length: number): void {
    const bytes = this.#buffer.subarray(this.#usedBytes, this.#usedBytes + length);
    let done = 0;
    while (done < length) {
      const got = readSync(disk.sourceFd, bytes, done, length - done, offset + done);
      // The disk was cut: whoever calls looks at its size.
      if (got === 0) break;
      done += got;
    }
    this.#usedBytes += length;
    this.#parts.push({ type: 'data', disk, offset, bytes });
  }
}
