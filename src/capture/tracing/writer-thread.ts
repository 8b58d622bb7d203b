import { closeSync, openSync, readFileSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import type { DiskWriter } from '../precopy/write-tracker.js';
import { type ImageSet, openFlags } from './image-holders.js';
import { readFromStart } from './kernel-calls.js';
import { ThreadAccount } from './thread-account.js';
import { type DescriptorKind, trackedCalls } from './tracked-calls.js';

const O_APPEND = 0o2000;
const textBuffer = Buffer.alloc(4096);
const trackedNumbers = new Set(trackedCalls.map(({ number }) => number));

/** A traced thread: its account, its counters in /proc, and what its descriptors stand for. */
export class WriterThread {
  readonly account = new ThreadAccount();
  readonly #task: string;
  readonly #tid: number;
  readonly #ioFd: number;
  readonly #images: ImageSet;
  #descriptors = new Map<number, DescriptorKind>();

  /** @throws Error when the thread is gone, or can't be looked at */
  constructor({ pid, tid }: DiskWriter, images: ImageSet) {
    this.#task = `/proc/${pid}/task/${tid}`;
    this.#tid = tid;
    this.#images = images;
    refuse32Bit(pid);
    this.#ioFd = openSync(`${this.#task}/io`, 'r');
  }

  /** What the kernel has counted as written by the thread. @throws Error when the thread is gone */
  wcharBytes(): number {
    const count = /^wchar: (\d+)$/m.exec(this.#readCounters())?.[1];
    if (count === undefined) throw new Error(`the kernel does not count what thread ${this.#tid} writes`);
    return Number(count);
  }

  #readCounters(): string {
    try {
      return readFromStart(this.#ioFd, textBuffer);
    } catch (error) {
      throw new Error(`thread ${this.#tid}, which writes the disks, is gone (${errnoOf(error)})`, {
        cause: error,
      });
    }
  }

  /** Whether the thread is blocked in something that is none of the calls that we trace. */
  isElsewhere(): boolean {
    const [number = ''] = readFileSync(`${this.#task}/syscall`, 'latin1').trim().split(' ');
    return /^-?\d+$/.test(number) && !trackedNumbers.has(Number(number));
  }

  /** What a descriptor stands for; looked up once. */
  kindOf(descriptor: number): DescriptorKind {
    // The trace shows the whole register; the kernel takes its lower half.
    const fd = descriptor | 0;
    let kind = this.#descriptors.get(fd);
    if (kind !== undefined) return kind;
    kind = this.#lookUp(fd);
    // What is gone may come back as something else.
    if (kind.type !== 'unknown') this.#descriptors.set(fd, kind);
    return kind;
  }

  #lookUp(fd: number): DescriptorKind {
    const disk = this.#images.diskAt(`${this.#task}/fd/${fd}`);
    if (disk === undefined) return { type: 'unknown' };
    if (disk === null) return { type: 'other' };
    return { type: 'disk', disk, appends: (openFlags(`${this.#task}/fdinfo/${fd}`) & O_APPEND) !== 0 };
  }

  /** Descriptors may stand for other files than before. */
  forgetDescriptors(): void {
    this.#descriptors = new Map();
  }

  /** @returns whether the thread's descriptors are not what they were when they were looked up */
  descriptorProblem(): string | null {
    for (const [fd, kind] of this.#descriptors) {
      const now = this.#lookUp(fd);
      const isGone = now.type === 'unknown' && kind.type === 'other';
      const same =
        now.type === 'disk' && kind.type === 'disk' ? isSameDisk(now, kind) : now.type === kind.type;
      if (!same && !isGone) return `descriptor ${fd} of thread ${this.#tid} is another file than before`;
    }
    return null;
  }

  /**
   * @param wcharBytes the thread's count, read just now where it is not given
   * @returns why the thread's account is not even; null when it is, to the byte
   */
  accountProblem(wcharBytes = this.wcharBytes()): string | null {
    if (!this.account.isIdle) return `thread ${this.#tid} is still inside a call`;
    const difference = this.account.differenceBytes(wcharBytes);
    if (difference === 0) return null;
    return `thread ${this.#tid} wrote ${difference} bytes more than were traced`;
  }

  close(): void {
    closeSync(this.#ioFd);
  }
}

function isSameDisk(a: DescriptorKind & { type: 'disk' }, b: DescriptorKind & { type: 'disk' }): boolean {
  return a.disk === b.disk && a.appends === b.appends;
}

/** The calls of 32-bit programs do not come through the tracer. */
function refuse32Bit(pid: number): void {
  const header = Buffer.alloc(5);
  const fd = openSync(`/proc/${pid}/exe`, 'r');
  try {
    readFromStart(fd, header);
  } finally {
    closeSync(fd);
  }
  if (header[4] !== 2) throw new Error(`process ${pid} is a 32-bit program, whose calls are not traced`);
}
