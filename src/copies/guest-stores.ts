import type { SnapshotStore } from '../snapshot/ports.js';
import type { Store } from '../store/store.js';

/** The stores of one guest, as its jobs use them. */
export interface GuestStores {
  /** A guest is captured into a directory: its first store, or the staging directory of it where that is an archive. */
  capturedInto: SnapshotStore & Store;
  /** What is captured only waits there, to be carried into the first of `filled`. */
  isStaging: boolean;
  /** These are filled from there afterwards, in this order. */
  filled: Store[];
}

export function everyStoreOf({ capturedInto, filled }: GuestStores): Store[] {
  return [capturedInto, ...filled];
}
