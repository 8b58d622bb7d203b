import { controlSocketPath, removeStale } from '../src/control/control-socket.js';
import { daemonLock } from '../src/control/daemon-lock.js';
import { explainError } from '../src/error-text.js';
import { isError, isHistoryFailure, UmlsnapError } from '../src/errors.js';
import type { SnapshotRecord } from '../src/history/records.js';
import { storeLocks } from '../src/job/guest-locks.js';
import type { Recovered, StartHistory } from '../src/job/recover-at-start.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import type { Lock } from '../src/locks/lock.js';
import { removeStrayNotifySocket, strayNotifySockets } from '../src/mconsole/notify-socket.js';
import { removeDeadSocketDirectories } from '../src/path/socket-directory.js';
import { leaseLock } from '../src/pause/lease.js';
import { removeScratchLeftovers } from '../src/restore/filesystems/scratch.js';
import { recordOf } from '../src/snapshot/describe-snapshot.js';
import { type OwnershipHistory, ownershipIn } from '../src/snapshot/ownership.js';
import type { FoundIncoming } from '../src/store/incoming.js';
import { isRecorded } from '../src/store/manifest.js';
import type { Store } from '../src/store/store.js';
import { isSound, type StoredSnapshot } from '../src/store/stored-snapshots.js';

export interface RecoverHistory extends StartHistory, OwnershipHistory {
  storeId(store: string): Promise<string | null>;
  rememberStore(store: string, id: string): Promise<void>;
  recordSnapshot(snapshot: SnapshotRecord): Promise<void>;
  forgetSnapshot(
    store: string,
    snapshot: string,
    removal: { removedAt: string; reason: string },
  ): Promise<void>;
}

export interface RecoverStore extends Pick<Store, 'storedBytesOf'> {
  readonly name: string;
  readonly path: string;
  /** True when it has been made a store once, and is mounted. */
  isMounted(expectedId: string | null): Promise<boolean>;
  prepare(expectedId: string | null): Promise<{ id: string }>;
  /** Snapshots in the making, of captures and of fillings, and what was set aside by a healing; a kind of store that clears these away itself has neither. */
  incomings?(): Promise<FoundIncoming[]>;
  discard?(incoming: FoundIncoming): Promise<void>;
  emptyTrash(): Promise<void>;
  list(): Promise<StoredSnapshot[]>;
}

export interface RecoverDeps {
  stateDirectory: string;
  /** Those of the config: each may have a notify socket. */
  guests: readonly string[];
  history: RecoverHistory;
  stores: RecoverStore[];
  /** Where private copies may lie that a killed job has left. */
  scratchPlaces: string[];
}

/**
 * Puts everything right that a death can leave behind, beyond what every start does:
 * 1. the sockets, scratch copies, incoming copies and removals of dead jobs are cleaned up; 2. the history's index of snapshots is what
 * the stores hold. Adds to what the start has `recovered`.
 * @throws HistoryUnusable, HistoryLocked
 */
export async function recover(deps: RecoverDeps, recovered: Recovered): Promise<void> {
  await clearSockets(deps, recovered);
  await clearScratch(deps.scratchPlaces, recovered);
  for (const store of deps.stores) {
    try {
      if (!(await isThere(store, deps.history))) continue;
      await discardLeftovers(deps.stateDirectory, store, recovered);
      await store.emptyTrash();
      await rebuildIndex(store, deps.history, recovered);
    } catch (error) {
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      recovered.problems.push(explainError(error));
    }
  }
}

/** Each under the lock of whoever would listen there: nobody can have just begun to. */
async function clearSockets({ stateDirectory: state, guests }: RecoverDeps, recovered: Recovered) {
  const control = controlSocketPath(state);
  await unlessBusy(daemonLock(state), control, recovered, async () => removeStale(control));
  for (const { guest, path } of strayNotifySockets(state, guests))
    await unlessBusy(leaseLock(state, guest), path, recovered, () => removeStrayNotifySocket(path));
}

async function unlessBusy(lock: Lock, path: string, recovered: Recovered, remove: () => Promise<boolean>) {
  try {
    const request = { locks: [lock], holder: 'umlsnap recover', what: `The socket ${path}`, wait: false };
    if (await withLocks(request, remove)) recovered.scratch.push(path);
  } catch (error) {
    if (!isError(error, 'Busy')) recovered.problems.push(explainError(error));
  }
}

async function clearScratch(places: string[], recovered: Recovered): Promise<void> {
  for (const place of places) {
    try {
      recovered.scratch.push(...(await removeScratchLeftovers(place)));
    } catch (error) {
      recovered.problems.push(explainError(error));
    }
  }
  recovered.scratch.push(...(await removeDeadSocketDirectories(new Date())));
}

/** A store that was never used is not made here, and one that should be there and is not is told. */
async function isThere(store: RecoverStore, history: RecoverHistory): Promise<boolean> {
  const known = await history.storeId(store.name);
  if (known === null && !(await store.isMounted(null))) return false;
  const { id } = await store.prepare(known);
  // A history that is new would else not miss the store when it is away.
  if (known === null) await history.rememberStore(store.name, id);
  return true;
}

async function discardLeftovers(
  stateDirectory: string,
  store: RecoverStore,
  recovered: Recovered,
): Promise<void> {
  for (const incoming of (await store.incomings?.()) ?? []) {
    const locks = await storeLocks(stateDirectory, store.path, incoming.guest);
    const what = `Guest ${incoming.guest} in store ${store.name}`;
    try {
      await withLocks({ locks, holder: 'umlsnap recover', what, wait: false }, async () =>
        store.discard?.(incoming),
      );
      recovered.discarded.push(`${incoming.guest}/${incoming.job}`);
    } catch (error) {
      // Somebody is at work on this guest: it is not a leftover.
      if (!isError(error, 'Busy')) throw error;
    }
  }
}

/** The store is the truth: rows follow it, in both directions. */
async function rebuildIndex(
  store: RecoverStore,
  history: RecoverHistory,
  recovered: Recovered,
): Promise<void> {
  const rows = new Map((await history.snapshots({ store: store.name })).map((row) => [row.snapshot, row]));
  const found = await store.list();
  const ownership = await ownershipIn(store.name, found, history);
  const isOwn = (stored: StoredSnapshot) => ownership(stored).type === 'own';
  const ours = new Set(found.filter(isOwn).map(({ snapshot }) => snapshot));
  for (const stored of found.filter(isSound)) {
    // Of two that have one name, ours is the one that the history tells of.
    if (!isOwn(stored) && ours.has(stored.snapshot)) continue;
    const row = rows.get(stored.snapshot);
    const storedBytes = await store.storedBytesOf(stored.manifest);
    const record = recordOf(store.name, stored.manifest, ownership(stored).type, storedBytes);
    if (!row) {
      await history.recordSnapshot(record);
      recovered.indexed.push(stored.snapshot);
    } else if (!isRecorded(stored.manifest, stored.manifestSha256, row)) {
      // Taking the new one over would hide a forged manifest behind a history that agrees with it.
      recovered.problems.push(`the manifest of ${stored.snapshot} is not the one that was recorded`);
    } else if (row.manifestSha256 !== stored.manifestSha256 || row.own !== record.own) {
      // Pinned or adopted, and the history was not told.
      await history.recordSnapshot(record);
      recovered.indexed.push(stored.snapshot);
    } else if (row.storedBytes !== record.storedBytes) {
      // Of an archive, an older version has recorded the data that its images hold.
      await history.recordSnapshot(record);
    }
  }
  const present = new Set(found.map(({ snapshot }) => snapshot));
  const removal = { removedAt: new Date().toISOString(), reason: 'it is no longer in the store' };
  for (const snapshot of rows.keys()) {
    if (present.has(snapshot)) continue;
    await history.forgetSnapshot(store.name, snapshot, removal);
    recovered.forgotten.push(snapshot);
  }
}
