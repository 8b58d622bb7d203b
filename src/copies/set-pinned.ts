import { explainError } from '../error-text.js';
import { isError, isHistoryFailure, UmlsnapError } from '../errors.js';
import { storeLocks } from '../job/guest-locks.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { recordOf } from '../snapshot/describe-snapshot.js';
import { ownershipIn } from '../snapshot/ownership.js';
import type { SnapshotHistory } from '../snapshot/ports.js';
import type { Store } from '../store/store.js';
import { isSound, ownerOf, type StoredSnapshot } from '../store/stored-snapshots.js';

export type PinHistory = Pick<
  SnapshotHistory,
  'storeId' | 'recordSnapshot' | 'stateId' | 'knownJobs' | 'snapshots'
>;

/**
 * Pins or unpins a snapshot of ours in every store that has it, under whatever name: what is pinned in one only would go from the
 * others by rule. A store that could not be asked is told, and keeps no other one from it.
 * @throws NoSuchSnapshot, SnapshotOfOther, or what kept the first store from it where it could be done in none; HistoryUnusable,
 * HistoryLocked
 */
export async function setPinned(
  { stores, stateDirectory }: { stores: Store[]; stateDirectory: string },
  { found, pinned }: { found: StoredSnapshot; pinned: boolean },
  history: PinHistory,
): Promise<{ stores: string[]; problems: string[] }> {
  const { snapshot, guest } = found;
  const done: string[] = [];
  const failures: UmlsnapError[] = [];
  const lacking: Store[] = [];
  let ofOther: UmlsnapError | undefined;
  const pinIn = async (store: Store, isLast: boolean) => {
    try {
      if (!(await store.isMounted(await history.storeId(store.name)))) return;
      const locks = await storeLocks(stateDirectory, store.path, guest);
      const what = `Guest ${guest} in store ${store.name}`;
      const holder = `umlsnap ${pinned ? 'pin' : 'unpin'} (pid ${process.pid})`;
      await withLocks({ locks, what, holder, wait: true }, async () => {
        const manifest = await store.amend(await ownCopyIn(store, found, history), { pinned });
        await history.recordSnapshot(
          recordOf(store.name, manifest, 'own', await store.storedBytesOf(manifest)),
        );
      });
      done.push(store.name);
    } catch (error) {
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      if (isError(error, 'SnapshotOfOther')) ofOther ??= error;
      else if (!isError(error, 'NoSuchSnapshot')) failures.push(error);
      else if (!isLast) lacking.push(store);
    }
  };
  for (const store of stores) await pinIn(store, false);
  // Once more: a copy may have been on its way there while we waited for another store.
  if (done.length > 0) for (const store of lacking) await pinIn(store, true);
  if (done.length === 0) throw failures[0] ?? ofOther ?? new UmlsnapError('NoSuchSnapshot', { snapshot });
  return { stores: done, problems: failures.map(explainError) };
}

/** @throws NoSuchSnapshot, SnapshotOfOther */
async function ownCopyIn(store: Store, found: StoredSnapshot, history: PinHistory): Promise<StoredSnapshot> {
  const { snapshot, guest } = found;
  const listed = await store.list(guest);
  const ownership = await ownershipIn(store.name, listed, history);
  const isCopy = (stored: StoredSnapshot) =>
    isSound(found) && isSound(stored)
      ? stored.manifest.job === found.manifest.job
      : stored.snapshot === snapshot;
  const own = listed.find((stored) => isCopy(stored) && ownership(stored).type === 'own');
  if (own !== undefined) return own;
  const other = listed.find((stored) => stored.snapshot === snapshot);
  if (other === undefined) throw new UmlsnapError('NoSuchSnapshot', { snapshot });
  throw new UmlsnapError('SnapshotOfOther', { snapshot, store: store.name, owner: ownerOf(other) ?? null });
}
