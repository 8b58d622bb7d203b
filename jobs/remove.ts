import type { Config, GuestConfig } from '../src/config/config.js';
import type { CopyDeps, CopyIndex, JudgedCopy } from '../src/copies/ask-stores.js';
import { type CopyQuery, findCopies, findEveryCopy } from '../src/copies/find-copy.js';
import { everyStoreOf, type GuestStores } from '../src/copies/guest-stores.js';
import { explainError } from '../src/error-text.js';
import { UmlsnapError } from '../src/errors.js';
import type { SnapshotRecord } from '../src/history/records.js';
import { guestLocks } from '../src/job/guest-locks.js';
import { type JobHistory, type JobSummary, recordedJob } from '../src/job/recorded-job.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import type { Store } from '../src/store/store.js';
import { isSound, ownerOf } from '../src/store/stored-snapshots.js';

export interface RemoveDeps extends CopyDeps<Store> {
  config: Config;
  stateDirectory: string;
  /** @throws NoSuchStore */
  storesOf(guest: GuestConfig): GuestStores;
  history: CopyIndex &
    JobHistory & {
      forgetSnapshot(
        store: string,
        snapshot: string,
        removal: { removedAt: string; reason: string },
      ): Promise<void>;
    };
}

export interface RemoveRequest extends Pick<CopyQuery, 'name' | 'store'> {
  /** Pinned ones as well, and the guest's last sound one. */
  force: boolean;
}

/** What is about to go, for whoever is asked. */
export interface Removal {
  snapshot: string;
  guest: string;
  /** Under the names that it has there: where its own was taken, it was carried as the next free one. */
  copies: { store: string; snapshot: string; storedBytes: number | null }[];
  /** Stores that keep a copy, or that could not be asked. */
  keptIn: string[];
  away: string[];
}

/**
 * Looks at what a removal by hand would take.
 * @throws NoSuchStore, NoSuchSnapshot, SnapshotOfOther, SnapshotPinned, LastSoundSnapshot
 */
export async function planRemoval(deps: RemoveDeps, request: RemoveRequest): Promise<Removal> {
  return (await chosenCopies(deps, request)).removal;
}

/**
 * Removes a snapshot on purpose, from every store or from one, under the locks that a prune takes:
 * 1. it is looked at again: what has changed since somebody was asked can speak against it now;
 * 2. the job stands in the history;
 * 3. store by store, in the order of the guest's config, the one that it was captured into first: who dies in between MUST leave no
 *    copy from which the next backup would fill the others again;
 * 4. in each, it is out of the list durably, then comes the history's row, then the deletion.
 * @throws as `planRemoval`; Busy, HistoryUnusable, HistoryLocked; any other failure is in the summary
 */
export async function remove(deps: RemoveDeps, request: RemoveRequest): Promise<JobSummary> {
  const { config, history, stateDirectory, stores } = deps;
  const planned = await planRemoval(deps, request);
  const { snapshot, guest } = planned;
  const paths = stores
    .filter(({ name }) => planned.copies.some(({ store }) => store === name))
    .map(({ path }) => path);
  // Of a guest that the config has no more, nobody knows the disks.
  const of = config.guests[guest] ?? { name: guest, disks: [] };
  const locks = await guestLocks('remove', of, paths, stateDirectory);
  return await withLocks({ ...locks, wait: false }, async () => {
    const chosen = await chosenCopies(deps, { ...request, name: snapshot });
    // A store that has come back meanwhile: nobody was told of it, and its lock is not ours.
    const copies = chosen.copies.filter(({ store }) => paths.includes(store.path));
    return await recordedJob(history, { kind: 'remove', guest, trigger: 'manual' }, async (run) => {
      const removed: Pick<Removal['copies'][number], 'snapshot' | 'store'>[] = [];
      run.facts = { snapshot, removed, keptIn: planned.keptIn };
      run.warnings.push(...planned.away.map((why) => `not removed from every store: ${why}`));
      for (const { store, stored } of copies) {
        await store.moveToTrash(stored);
        const removal = { removedAt: new Date().toISOString(), reason: 'removed by hand' };
        await history.forgetSnapshot(store.name, stored.snapshot, removal);
        removed.push({ snapshot: stored.snapshot, store: store.name });
        await store.emptyTrash();
      }
    });
  });
}

/**
 * What goes: every copy of the snapshot that the name stands for, by the job that made it, under whatever name it lies.
 * @throws as `planRemoval`
 */
async function chosenCopies(
  deps: RemoveDeps,
  request: RemoveRequest,
): Promise<{ copies: JudgedCopy<Store>[]; removal: Removal }> {
  const named = await findCopies(deps, request);
  const first = named.copies.find(({ stored }) => isSound(stored)) ?? named.copies[0];
  if (!first) throw new UmlsnapError('NoSuchSnapshot', { snapshot: request.name });
  const { snapshot, guest } = first.stored;
  if (first.ownership.type !== 'own') {
    const facts = { snapshot, store: first.store.name, owner: ownerOf(first.stored) ?? null };
    throw new UmlsnapError('SnapshotOfOther', facts);
  }
  const rows = await deps.history.snapshots({ guest });
  const { job } = first;
  // Where that is not known of one of the two, the name has to do.
  const isOfIt = (copy: JudgedCopy) =>
    (job !== null && copy.job === job) ||
    (copy.stored.snapshot === snapshot && (job === null || copy.job === null));
  const isChosen = (copy: JudgedCopy) =>
    isOfIt(copy) && (request.store === undefined || copy.store.name === request.store);
  const every = await findEveryCopy(deps, guest);
  const others = every.filter((copy) => !isChosen(copy));
  const kept = others.filter(isOfIt);
  const copies = inOrderOf(orderIn(deps, guest), every.filter(isChosen));
  if (copies.length === 0) throw new UmlsnapError('NoSuchSnapshot', { snapshot });
  const refusal = request.force ? null : whyNotRemoved(copies, { others, kept }, rows);
  if (refusal) throw refusal;
  const removal = {
    ...{ snapshot, guest, away: named.away.map(explainError) },
    copies: await Promise.all(
      copies.map(async ({ store, stored }) => ({
        store: store.name,
        snapshot: stored.snapshot,
        storedBytes: isSound(stored) ? await store.storedBytesOf(stored.manifest) : null,
      })),
    ),
    keptIn: kept.map(({ store }) => store.name),
  };
  return { copies, removal };
}

/** As a backup goes through the guest's stores. */
function orderIn(deps: RemoveDeps, guest: string): string[] {
  const settings = deps.config.guests[guest];
  return settings ? everyStoreOf(deps.storesOf(settings)).map(({ name }) => name) : [];
}

/** Those in stores that the guest has no more come last. */
function inOrderOf(names: string[], copies: JudgedCopy<Store>[]): JudgedCopy<Store>[] {
  const rank = ({ store }: JudgedCopy) =>
    names.includes(store.name) ? names.indexOf(store.name) : names.length;
  return copies.toSorted((one, other) => rank(one) - rank(other));
}

/**
 * A pinned one, and the last sound copy that the guest has anywhere, are not removed by a slip; nor is the last sound one of a snapshot
 * whose damaged copies are to stay, which could never be brought back then. A store that is away may have others: nobody knows. Pure.
 */
function whyNotRemoved(
  copies: readonly JudgedCopy[],
  { others, kept }: { others: readonly JudgedCopy[]; kept: readonly JudgedCopy[] },
  rows: readonly Pick<SnapshotRecord, 'snapshot' | 'store' | 'pinned'>[],
): UmlsnapError | null {
  const isPinned = ({ store, stored }: JudgedCopy) =>
    isSound(stored)
      ? stored.manifest.pinned
      : rows.some((row) => row.snapshot === stored.snapshot && row.store === store.name && row.pinned);
  const pinned = copies.find(isPinned);
  if (pinned) return new UmlsnapError('SnapshotPinned', { snapshot: pinned.stored.snapshot });
  const isSoundCopy = ({ soundness }: JudgedCopy) => soundness.type === 'sound';
  // Where none is sound, one whose bytes are right is the best that there is.
  const isGood = [...copies, ...others].some(isSoundCopy)
    ? isSoundCopy
    : ({ soundness }: JudgedCopy) => soundness.type !== 'damaged';
  const last = copies.find(isGood);
  const staysUnsound = kept.length > 0 && !kept.some(isGood);
  if (!last || (others.some(isGood) && !staysUnsound)) return null;
  const { snapshot, guest } = last.stored;
  const damagedIn = kept.map(({ store }) => store.name);
  return new UmlsnapError('LastSoundSnapshot', { snapshot, guest, damagedIn });
}
