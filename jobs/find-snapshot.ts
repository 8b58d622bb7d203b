import { isError, isHistoryFailure, UmlsnapError } from '../src/errors.js';
import type { SnapshotRecord } from '../src/history/records.js';
import type { RestoreSource } from '../src/restore/restore-source.js';
import { requireBelievable } from '../src/store/largest-snapshot.js';
import { isRecorded } from '../src/store/manifest.js';
import type { Store } from '../src/store/store.js';
import type { SoundSnapshot, StoredSnapshot } from '../src/store/stored-snapshots.js';

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

/** Which stores were used before; an error in its place is a history that can't be used. */
export type StoreIndex = { storeId(store: string): Promise<string | null> } | UmlsnapError;

/**
 * Looks for a snapshot in each store, in the given order. A store that can't be reached is passed over as long as
 * another one has the snapshot.
 * @throws NoSuchSnapshot, or what is wrong with the store that could not be asked
 */
export async function findSnapshot<S extends ReadableStore>(
  stores: S[],
  snapshot: string,
  history: StoreIndex,
): Promise<FoundSnapshot<S>> {
  let unreachable: unknown;
  for (const store of stores) {
    try {
      return { store, stored: await store.read(snapshot) };
    } catch (error) {
      unreachable ??= await whyNotAsked(store, history, error);
    }
  }
  throw unreachable ?? new UmlsnapError('NoSuchSnapshot', { snapshot });
}

/** Runs `use`, which reads a snapshot, while nobody can remove it. @throws NoSuchSnapshot when somebody has by now */
export async function whileReading<T>(
  { store, stored }: FoundSnapshot<ReadableStore>,
  use: () => Promise<T>,
): Promise<T> {
  return store.whileReading ? await store.whileReading(stored, use) : await use();
}

/** What keeps a store from being asked; undefined when it was asked, or was never used and has nothing to be asked for. */
async function whyNotAsked(store: ReadableStore, history: StoreIndex, error: unknown): Promise<unknown> {
  const known = history instanceof UmlsnapError ? null : await history.storeId(store.name);
  try {
    if (!(await store.isMounted(known))) return undefined;
  } catch (whyNotMounted) {
    return whyNotMounted;
  }
  return isError(error, 'NoSuchSnapshot') ? undefined : error;
}

export interface SnapshotIndex {
  snapshots(filter: { guest: string }): Promise<SnapshotRecord[]>;
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

/**
 * A snapshot as something to restore from.
 * @param rows the history's rows, if there is a history: a manifest that is not the recorded one is not trusted
 * @throws SnapshotDamaged, TooLarge
 */
export function restoreSourceOf<S extends ReadableStore>(
  { store, stored }: FoundSnapshot<S>,
  rows: SnapshotRecord[],
): RestoreSource {
  const { snapshot } = stored;
  if (!('manifest' in stored))
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: stored.damaged });
  const sound: SoundSnapshot = stored;
  const row = rows.find((record) => record.snapshot === snapshot && record.store === store.name);
  if (row && !isRecorded(sound.manifest, sound.manifestSha256, row.manifestSha256)) {
    const problem = 'its manifest is not the one that the history has recorded';
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem });
  }
  requireBelievable(sound.manifest, store.largestSnapshotBytes);
  return {
    manifest: sound.manifest,
    openFile: (file) => store.openFile(sound, file),
    openBacking: (file) => store.openBacking(sound, file),
  };
}
