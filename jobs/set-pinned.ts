import { explainError } from '../src/error-text.js';
import { isError, isHistoryFailure, UmlsnapError } from '../src/errors.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import { recordOf } from '../src/snapshot/describe-snapshot.js';
import type { SnapshotHistory } from '../src/snapshot/ports.js';
import type { Store } from '../src/store/store.js';
import { storeLocks } from './guest-locks.js';

export type PinHistory = Pick<SnapshotHistory, 'storeId' | 'recordSnapshot'>;

/**
 * Pins or unpins a snapshot in every store that has it: what is pinned in one only would go from the others by rule. A store
 * that could not be asked is told, and keeps no other one from it.
 * @param snapshot its full name, not `guest@latest`, which need not be the same everywhere
 * @throws NoSuchSnapshot, or what kept the first store from it where it could be done in none; HistoryUnusable, HistoryLocked
 */
export async function setPinned(
  { stores, stateDirectory }: { stores: Store[]; stateDirectory: string },
  { snapshot, guest, pinned }: { snapshot: string; guest: string; pinned: boolean },
  history: PinHistory,
): Promise<{ stores: string[]; problems: string[] }> {
  const done: string[] = [];
  const failures: UmlsnapError[] = [];
  const lacking: Store[] = [];
  const pinIn = async (store: Store, isLast: boolean) => {
    try {
      if (!(await store.isMounted(await history.storeId(store.name)))) return;
      const locks = await storeLocks(stateDirectory, store.path, guest);
      const what = `Guest ${guest} in store ${store.name}`;
      const holder = `umlsnap ${pinned ? 'pin' : 'unpin'} (pid ${process.pid})`;
      await withLocks({ locks, what, holder, wait: true }, async () => {
        const manifest = await store.setPinned(snapshot, pinned);
        await history.recordSnapshot(recordOf(store.name, manifest, await store.storedBytesOf(manifest)));
      });
      done.push(store.name);
    } catch (error) {
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      if (!isError(error, 'NoSuchSnapshot')) failures.push(error);
      else if (!isLast) lacking.push(store);
    }
  };
  for (const store of stores) await pinIn(store, false);
  // Once more: a copy may have been on its way there while we waited for another store.
  if (done.length > 0) for (const store of lacking) await pinIn(store, true);
  if (done.length === 0) throw failures[0] ?? new UmlsnapError('NoSuchSnapshot', { snapshot });
  return { stores: done, problems: failures.map(explainError) };
}
