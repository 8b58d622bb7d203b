import { withLocks } from '../src/exclusive-lock.js';
import type { SnapshotRecord } from '../src/history/records.js';
import { recordOf } from '../src/snapshot/describe-snapshot.js';
import type { Manifest } from '../src/store/manifest.js';
import { findSnapshot, type ReadableStore, type StoreIndex } from './find-snapshot.js';
import { storeLock } from './guest-locks.js';

export interface PinStore extends ReadableStore {
  setPinned(snapshot: string, pinned: boolean): Promise<Manifest>;
}

export type PinHistory = StoreIndex & { recordSnapshot(snapshot: SnapshotRecord): Promise<void> };

/**
 * Pins a snapshot, which no rule removes then, or lets the rules decide about it again. Waits for whoever works on its store.
 * The store is the truth, so it MUST know before the history does.
 * @returns its whole name
 * @throws NoSuchSnapshot, SnapshotDamaged, and what speaks against the store
 */
export async function pin(
  name: string,
  pinned: boolean,
  { stores, history }: { stores: PinStore[]; history: PinHistory },
): Promise<string> {
  const { store, stored } = await findSnapshot(stores, name, history);
  const { snapshot, guest } = stored;
  const lock = {
    keys: [storeLock(store.path, guest)],
    holder: `umlsnap pin (pid ${process.pid})`,
    what: `Guest ${guest}`,
  };
  await withLocks({ ...lock, wait: true }, async () => {
    const manifest = await store.setPinned(snapshot, pinned);
    await history.recordSnapshot(recordOf(store.name, manifest));
  });
  return snapshot;
}
