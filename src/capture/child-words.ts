import type { CapturedDisk, CaptureMethod } from './capture.js';
import type { DiskWord } from './disk-word.js';

/** What the capture child is told and says, over its channel. */

/** Before the pause. The descriptors of disk `i` are the child's `firstDiskFd + 2i` (source) and the next one (target). */
export interface ArmWord {
  is: 'arm';
  method: Exclude<CaptureMethod, 'precopy'>;
  /** Our pid: a child that has another parent by now was left behind, and ends. */
  parentPid: number;
  disks: { device: string; sizeBytes: number }[];
}

/** The pause has begun. */
export interface GoWord {
  is: 'go';
}

export type ChildWord = { is: 'ready' } | { is: 'done'; disks: Map<string, CapturedDisk> } | DiskWord;

/** 0 to 2 are the usual three, 3 is the channel. */
export const firstDiskFd = 4;
