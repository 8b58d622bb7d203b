import { isHistoryFailure, UmlsnapError } from '../errors.js';
import type { SnapshotRecord } from '../history/records.js';
import type { RestoreSource } from '../restore/restore-source.js';
import { requireBelievable } from '../store/largest-snapshot.js';
import type { Store } from '../store/store.js';
import { isSound, type StoredSnapshot, whyDamaged } from '../store/stored-snapshots.js';

/** A store of any kind, to read from. */
export type ReadableStore = Pick<
  Store,
  'name' | 'path' | 'largestSnapshotBytes' | 'isMounted' | 'read' | 'openFile' | 'openBacking'
> & {
  /** Where a removal is kept from what is being read. */
  whileReading?<T>(stored: StoredSnapshot, use: () => Promise<T>): Promise<T>;
};

export interface FoundSnapshot<S extends ReadableStore> {
  store: S;
  stored: StoredSnapshot;
}

/** Runs `use`, which reads a snapshot, while nobody can remove it. @throws NoSuchSnapshot when somebody has by now */
export async function whileReading<T>(
  { store, stored }: FoundSnapshot<ReadableStore>,
  use: () => Promise<T>,
): Promise<T> {
  return store.whileReading ? await store.whileReading(stored, use) : await use();
}

export interface SnapshotIndex {
  snapshots(filter: { guest: string; own?: true }): Promise<SnapshotRecord[]>;
}

/** What the history has recorded of a guest's snapshots; nothing where it can't be used. */
export async function recordedRows(
  history: SnapshotIndex | UmlsnapError,
  guest: string,
): Promise<SnapshotRecord[]> {
  if (history instanceof UmlsnapError) return [];
  try {
    return await history.snapshots({ guest });
  } catch (error) {
    if (isHistoryFailure(error)) return [];
    throw error;
  }
}

/** What speaks against a snapshot as it lies in its store, by its own word and the history's; undefined: nothing. */
export function problemWith(
  { store, stored }: FoundSnapshot<ReadableStore>,
  rows: readonly SnapshotRecord[],
): string | undefined {
  return whyDamaged(
    stored,
    rows.find(({ snapshot, store: of }) => snapshot === stored.snapshot && of === store.name),
  );
}

/**
 * A snapshot as something to restore from.
 * @param rows the history's rows, if there is a history: a manifest that is not the recorded one is not trusted
 * @throws SnapshotDamaged, TooLarge
 */
export function restoreSourceOf<S extends ReadableStore>(
  found: FoundSnapshot<S>,
  rows: SnapshotRecord[],
): RestoreSource {
  const { store, stored } = found;
  const { snapshot } = stored;
  const problem = problemWith(found, rows);
  if (!isSound(stored) || problem !== undefined)
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: problem ?? '' });
  requireBelievable(stored.manifest, store.largestSnapshotBytes);
  return {
    manifest: stored.manifest,
    openFile: (file) => store.openFile(stored, file),
    openBacking: (file) => store.openBacking(stored, file),
  };
}
