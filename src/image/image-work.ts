import type { MixedGroups } from './cow-bitmap.js';
import type { CowLayout } from './cow-file.js';
import type { PaceState } from './pace.js';
import type { Extent } from './sparse-map.js';

/** What a thread can be asked to do with images. Descriptors belong to the whole process, so their numbers are enough. */
export type ImageWork =
  | { kind: 'copy'; sourceFd: number; targetFd: number; throttled?: PaceState }
  | { kind: 'copyAndDigest'; sourceFd: number; targetFd: number; digest: DigestKind }
  | { kind: 'mergeCow'; cowFd: number; targetFd: number; layout: CowLayout; throttled?: PaceState }
  | { kind: 'countMixedGroups'; cowFd: number; layout: CowLayout }
  /** `firstBytes`: only so many of them, all of which the file has. */
  | { kind: 'digest'; fd: number; digest: DigestKind; firstBytes?: number; throttled?: PaceState }
  | { kind: 'countData'; fd: number }
  | { kind: 'copyRate'; sourceFd: number; targetFd: number; maxBytes: number; maxMs: number };

/** Over the whole content, zeros included; over the data alone (`DataDigest`), which a large hole costs nothing; or both. */
export type DigestKind = 'whole' | 'data' | 'both';

/** Each in hex where it was asked for. `sha256` is what `sha256sum` says. */
export interface Digests {
  sha256: string | null;
  dataSha256: string | null;
}

export interface ImageWorkResult extends Digests {
  sizeBytes: number;
  dataBytes: number;
  elapsedMs: number;
  /** Of `countMixedGroups` alone. */
  mixed?: MixedGroups;
}

export interface ImageProgress {
  doneBytes: number;
  sizeBytes: number;
}

export interface ImageWorkOptions {
  signal?: AbortSignal;
  /**
   * Only of a digest and a plain copy: reads at this pace, and a merge in the background. A file is read when nobody else reads, from the disk even where the kernel has it in
   * memory, and leaves nothing there.
   */
  throttled?: PaceState;
  /** Called now and then, from the main thread. */
  onProgress?: (progress: ImageProgress) => void;
}

/** What a thread is told that works on a stream. */
export interface StreamWork {
  kind: 'stream';
  /** Of the whole image: what no piece covers is a hole. */
  sizeBytes: number;
  /** null: the content is only hashed. */
  targetFd: number | null;
  digest: DigestKind;
}

/** Pieces in one buffer, in their order; and the word after the last batch. */
export type StreamBatch =
  | { kind: 'batch'; data: Uint8Array<ArrayBuffer>; pieces: Extent[] }
  | { kind: 'endOfStream' };

/** What a thread is told: works, one after the other, and of a stream what it is fed meanwhile. */
export type ThreadRequest = ImageWork | StreamWork | StreamBatch;

/** What it says, as plain data: an error's class and cause don't survive the way between threads. */
export type ThreadMessage =
  /** Its modules are loaded: from here on it may be ended by force. */
  | { is: 'ready' }
  | { is: 'progress'; progress: ImageProgress }
  /** Of one that is fed: it is done with one batch. */
  | { is: 'taken' }
  | LastMessage;

/** After it the thread touches no descriptor of the work any more. */
export type LastMessage =
  | { is: 'done'; result: ImageWorkResult }
  | { is: 'failed'; message: string; code: string | undefined; syscall: string | undefined };
