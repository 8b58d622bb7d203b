import { join } from 'node:path';

/** What is locked, by the place that shows who may lock it. */
export type Lock =
  /** What a state directory says, or is there for. The same key is the same lock. */
  | { on: 'state'; state: string; key: string }
  /** What lies in a directory that is ours; it is made unless the one above it is missing too. `orGoOn`: where it can't be had, without it. */
  | { on: 'directory'; directory: string; key: string; orGoOn: boolean }
  /** A guest's disk, under whatever name, config and state somebody else knows it. */
  | { on: 'disk'; path: string };

/** Where the lock files of a state directory lie. */
export const lockDirectory = (state: string) => join(state, 'locks');

/** A lock whose place has been found. */
export interface Lockable {
  /**
   * The same for all who mean this lock, however they spell its path: several are taken in the order of these. Disks come last, as
   * a disk's holder has no words of his own.
   */
  identity: string;
  take(holder: string): Promise<Attempt>;
}

export interface HeldLock {
  release(): Promise<void>;
}

export type Attempt =
  | { held: HeldLock }
  /** Its holder's words; undefined: he has not said anything yet. */
  | { heldBy: string | undefined };

/** In the place of a lock that nobody can hold. */
export const noLock: HeldLock = { release: async () => {} };

const wordsMaxLength = 200;

/** One line without control characters and without end, whoever wrote it. */
export function holderText(text: string): string {
  return text.slice(0, wordsMaxLength).replace(/[^\x20-\x7e]/g, '?');
}
