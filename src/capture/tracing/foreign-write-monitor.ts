import { closeSync, readFileSync } from 'node:fs';
import { errnoOf, problemOf } from '../../errors.js';
import type { DiskWriter, TrackedDisk } from '../precopy/write-tracker.js';
import {
  describeProcess,
  findOtherWriter,
  holdsForWriting,
  ImageSet,
  isForeign,
  mapsForWriting,
} from './image-holders.js';
import { openFileWatch, readAvailable, watchFile } from './kernel-calls.js';

/** What fanotify tells of an image. */
const FAN_MODIFY = 0x2;
const FAN_CLOSE_WRITE = 0x8;
const FAN_OPEN = 0x20;
const FAN_Q_OVERFLOW = 0x4000;
/** struct fanotify_event_metadata: u32 length, u8 version, u8, u16, u64 mask, s32 fd, s32 pid. */
const maskAt = 8;
const fdAt = 16;
const pidAt = 20;
const metadataVersion = 3;

export interface Sight {
  problem: string | null;
  /** The guest has opened an image: a descriptor that was something else may be a disk now. */
  reopened: boolean;
}

/** Tells whether anybody but the known writers changes the images, by whatever call and from whichever thread. */
export class ForeignWriteMonitor {
  readonly images: ImageSet;
  readonly #watchFd: number;
  readonly #buffer = Buffer.alloc(4096);
  readonly #writerIds: Set<number>;
  readonly #guestPids: number[];

  /** @throws Error when the images can't be watched, or somebody else could write them already */
  constructor(disks: TrackedDisk[], writers: DiskWriter[], guestPids: number[]) {
    this.images = new ImageSet(disks);
    this.#writerIds = new Set(writers.map(({ tid }) => tid));
    this.#guestPids = [...new Set([...guestPids, ...writers.map(({ pid }) => pid)])];
    this.#watchFd = openFileWatch();
    try {
      const mask = FAN_MODIFY | FAN_CLOSE_WRITE | FAN_OPEN;
      for (const { fd } of disks) watchFile(this.#watchFd, mask, `/proc/self/fd/${fd}`);
      // In this order: whoever opens an image after the look round is told of by the watch.
      const other = findOtherWriter(this.images, this.#guestPids);
      if (other !== null) throw new Error(other);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What happened to the images since the last look. */
  look(): Sight {
    const sight: Sight = { problem: null, reopened: false };
    try {
      for (;;) {
        const length = readAvailable(this.#watchFd, this.#buffer);
        if (length === 0) return sight;
        this.#takeEvents(length, sight);
      }
    } catch (error) {
      sight.problem ??= `who writes the disks can't be seen: ${problemOf(error)}`;
      return sight;
    }
  }

  /** The watch does not tell of mappings: looks for one in one process of the guest, another with each `turn`. Not for the pause. */
  lookForMapping(turn: number): string | null {
    const pid = this.#guestPids[turn % this.#guestPids.length] ?? process.pid;
    return mapsForWriting(this.images, pid)
      ? `${describeProcess(pid)} has a disk mapped into its memory`
      : null;
  }

  #takeEvents(length: number, sight: Sight): void {
    for (let at = 0; at < length; at += this.#buffer.readUInt32LE(at)) {
      // Each event brings a descriptor of its file, which MUST be closed whatever we make of the event.
      const fd = this.#buffer.readInt32LE(at + fdAt);
      if (fd >= 0) closeSync(fd);
      if (this.#buffer[at + 4] !== metadataVersion) sight.problem ??= 'fanotify speaks another version';
      this.#judge(this.#buffer.readUInt32LE(at + maskAt), this.#buffer.readInt32LE(at + pidAt), sight);
    }
  }

  #judge(mask: number, threadId: number, sight: Sight): void {
    if ((mask & FAN_Q_OVERFLOW) !== 0)
      sight.problem ??= 'more happened to the disks than the kernel could tell';
    const isWriter = this.#writerIds.has(threadId);
    if ((mask & FAN_MODIFY) !== 0 && !isWriter) {
      sight.problem ??= `${describeThread(threadId)} wrote to a disk as well`;
    }
    if ((mask & FAN_CLOSE_WRITE) !== 0) {
      sight.problem ??= `${describeThread(threadId)} had a disk open for writing, and closed it`;
    }
    if ((mask & FAN_OPEN) === 0) return;
    sight.reopened = true;
    if (isWriter || threadId <= 0 || !isForeign(processOf(threadId), this.#guestPids)) return;
    // Also a mapping: it stays when the descriptor was closed before we looked, and what is stored into it is told by nobody.
    if (holdsForWriting(this.images, threadId) || mapsForWriting(this.images, threadId)) {
      sight.problem ??= `${describeThread(threadId)} opened a disk for writing`;
    }
  }

  close(): void {
    closeSync(this.#watchFd);
  }
}

function describeThread(threadId: number): string {
  return threadId > 0 ? describeProcess(threadId) : 'a process outside of this container';
}

/** The process of a thread; the thread itself when it is gone. */
function processOf(threadId: number): number {
  try {
    const status = readFileSync(`/proc/${threadId}/status`, 'latin1');
    return Number(/^Tgid:\s*(\d+)$/m.exec(status)?.[1]);
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '')) return threadId;
    throw error;
  }
}
