import { fdatasyncSync } from 'node:fs';
import { startWriteBack, writeBackBlocking } from '../../image/linux-calls.js';

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
export class WriteBack {
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
