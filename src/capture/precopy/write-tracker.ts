/** The port between a precopy and whatever knows which parts of the disks are written while they are copied. */

export interface TrackedDisk {
  device: string;
  /** The image, open for reading: it stands for its device and inode. */
  fd: number;
  sizeBytes: number;
  /** Told of every stretch whose writing has ended, and whose copy is outdated by that. Any offset and length. */
  markWritten(offset: number, length: number): void;
}

/** A thread that writes the disks. */
export interface DiskWriter {
  pid: number;
  tid: number;
}

/**
 * Knows every write to the disks from the moment it was started, or knows that it does not: each step returns why it can't be
 * trusted any more, and null as long as it can. A doubt stays.
 */
export interface WriteTracker {
  /** Marks what was written since the last call. Called every few milliseconds while the guest runs. */
  follow(): string | null;
  /** The guest stands still, and its writes have ended: marks the rest. Part of the pause. */
  settle(): string | null;
  /** After the last byte was copied: nothing was written since `settle`, and the accounts are even. Part of the pause. */
  prove(): string | null;
  /**
   * After the pause: nothing was missed since the start, as whoever lost events has counted them, and will not have forgotten.
   * Without its null, and that of `prove`, the copy MUST NOT be called good.
   */
  confirm(): string | null;
  /** For the job's record. */
  readonly facts: TrackerFacts;
  close(): void;
}

export interface TrackerFacts {
  events: number;
  /** Written by the guest's threads since the start, to the disks and elsewhere: traced, and equal to what the kernel counted. */
  accountedBytes: number;
}
