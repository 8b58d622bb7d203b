import type { DiskWord } from '../disk-word.js';
import type { SharedBlockMap } from './block-map.js';

/** What the threads of the precopy child are told and say. */

/** A disk as a thread gets it; descriptors belong to the whole process, so their numbers are enough. */
export interface ThreadDisk {
  device: string;
  sizeBytes: number;
  sourceFd: number;
  targetFd: number;
  map: SharedBlockMap;
}

export interface ThreadData {
  disks: ThreadDisk[];
  /** Works while the guest runs: behind everybody else, and no faster than `bytesPerSecond`. */
  isBackground: boolean;
  bytesPerSecond: number | null;
  /** One BigInt64: bytes that the bulk copy has done. */
  progress: SharedArrayBuffer;
  /** One Int32: the next chunk that no comparing thread has taken. */
  nextChunk: SharedArrayBuffer;
}

export type ThreadOrder =
  | { is: 'bulk' }
  /** Copies what is marked; stops after a piece when the time is over. */
  | { is: 'round'; limitMs: number }
  /** Compares chunks until none is left; a sample takes the start of chunks all over the disks until its time is over. */
  | { is: 'compare'; sampleMs: number | null };

/** Times are without the waits for the rate limit and for the store to write. */
export type ThreadWord =
  | { is: 'ready' }
  | { is: 'copied'; copiedBytes: number; busyMs: number }
  | { is: 'compared'; comparedBytes: number; writtenBytes: number }
  | DiskWord;
