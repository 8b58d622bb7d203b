import type { ImageProgress, ImageWorkOptions } from '../image/image-work.js';
import type { PaceState } from '../image/pace.js';
import type { ManifestDisk } from '../store/manifest.js';
import type { SnapshotContent } from '../store/store.js';

/** What a restore reads from; whoever has a store of snapshots provides it. Who opens a content closes it. */
export type RestoreSource = SnapshotContent;

export interface RestoreOptions {
  signal: AbortSignal;
  /** Of a verification: see `ImageWorkOptions`. */
  throttled?: PaceState;
  /** `file` is the one that is being read, by its name in the store. */
  onProgress?: (file: string, progress: ImageProgress) => void;
}

/** The same for the work on one file. */
export function workOn(file: string, { signal, throttled, onProgress }: RestoreOptions): ImageWorkOptions {
  return {
    signal,
    ...(throttled && { throttled }),
    ...(onProgress && { onProgress: (progress: ImageProgress) => onProgress(file, progress) }),
  };
}

export interface RestoredDisk {
  device: string;
  /** Of the file that was restored. */
  kind: ManifestDisk['kind'];
  path: string;
  sizeBytes: number;
  /** What of it is data: the rest are holes. */
  dataBytes: number;
  backing: { path: string; state: 'restored' | 'unchanged' } | null;
  /** It is the raw image of a disk that the snapshot has as a COW pair. */
  merged: boolean;
  /** Where the disk lies that was replaced; null when there was none, or it was removed after the restore. */
  replacedPath: string | null;
}
