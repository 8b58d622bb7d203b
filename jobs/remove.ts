import type { Config } from '../src/config/config.js';
import { explainError } from '../src/error-text.js';
import { UmlsnapError } from '../src/errors.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import type { SnapshotRecord } from '../src/history/records.js';
import { sizesOf } from '../src/store/manifest.js';
import type { Store } from '../src/store/store.js';
import { isSound, ownerOf } from '../src/store/stored-snapshots.js';
import type { CopyHouse, CopyIndex, JudgedCopy } from './ask-stores.js';
import { type CopyWish, findCopies, findEveryCopy } from './find-copy.js';
import { guestLocks } from './guest-locks.js';
import { type JobHistory, type JobSummary, recordedJob } from './recorded-job.js';

export interface RemoveHouse extends CopyHouse<Store> {
  config: Config;
  stateDirectory: string;
  history: CopyIndex &
    JobHistory & {
      forgetSnapshot(
        store: string,
        snapshot: string,
        removal: { removedAt: string; reason: string },
      ): Promise<void>;
    };
}

export interface RemoveWish extends Pick<CopyWish, 'name' | 'store'> {
  /** Pinned ones as well, and the guest's last sound one. */
  force: boolean;
}

/** What is about to go, for whoever is asked. */
export interface Removal {
  snapshot: string;
  guest: string;
  copies: { store: string; storedBytes: number | null }[];
  /** Stores that keep a copy, or that could not be asked. */
  keptIn: string[];
  away: string[];
}

/**
 * Looks at what a removal by hand would take.
 * @throws NoSuchStore, NoSuchSnapshot, SnapshotOfOther, SnapshotPinned, LastSoundSnapshot
 */
export async function planRemoval(house: RemoveHouse, wish: RemoveWish): Promise<Removal> {
  const { copies, away } = await chosenCopies(house, wish);
  const { snapshot, guest } = copies[0].stored;
  const isChosen = (copy: JudgedCopy) =>
    copies.some(
      ({ store, stored }) => store.name === copy.store.name && stored.snapshot === copy.stored.snapshot,
    );
  const others = (await findEveryCopy(house, guest)).filter((copy) => !isChosen(copy));
  const rows = await house.history.snapshots({ guest });
  const refusal = wish.force ? null : whyNotRemoved(copies, others, rows);
  if (refusal) throw refusal;
  return {
    ...{ snapshot, guest, away },
    copies: copies.map(({ store, stored }) => ({
      store: store.name,
      storedBytes: isSound(stored) ? sizesOf(stored.manifest).storedBytes : null,
    })),
    keptIn: others.filter(({ stored }) => stored.snapshot === snapshot).map(({ store }) => store.name),
  };
}

/**
 * Removes a snapshot on purpose, from every store or from one, under the locks that a prune takes:
 * 1. it is looked at again: what has changed since somebody was asked can speak against it now;
 * 2. the job stands in the history;
 * 3. store by store, in the order of the config, the one that it was captured into first: who dies in between MUST leave no copy from
 *    which the next backup would fill the others again;
 * 4. in each, it is out of the list durably, then comes the history's row, then the deletion.
 * @throws as `planRemoval`; Busy, HistoryUnusable, HistoryLocked; any other failure is in the summary
 */
export async function remove(house: RemoveHouse, wish: RemoveWish): Promise<JobSummary> {
  const { config, history, stateDirectory, stores } = house;
  const planned = await planRemoval(house, wish);
  const { snapshot, guest } = planned;
  const paths = stores
    .filter(({ name }) => planned.copies.some(({ store }) => store === name))
    .map(({ path }) => path);
  // Of a guest that the config has no more, nobody knows the disks.
  const of = config.guests[guest] ?? { name: guest, disks: [] };
  const locks = await guestLocks('remove', of, paths, stateDirectory);
  return await withLocks({ ...locks, wait: false }, async () => {
    const again = await chosenCopies(house, { ...wish, name: snapshot });
    await planRemoval(house, { ...wish, name: snapshot });
    return await recordedJob(history, { kind: 'remove', guest, trigger: 'manual' }, async (run) => {
      const removed: { snapshot: string; store: string }[] = [];
      run.facts = { snapshot, removed, keptIn: planned.keptIn };
      run.warnings.push(...planned.away.map((why) => `not removed from every store: ${why}`));
      for (const {
        store: { name },
        stored,
      } of again.copies) {
        const store = stores.find((one) => one.name === name);
        await store?.moveToTrash(stored);
        const removal = { removedAt: new Date().toISOString(), reason: 'removed by hand' };
        await history.forgetSnapshot(name, snapshot, removal);
        removed.push({ snapshot, store: name });
        await store?.emptyTrash();
      }
    });
  });
}

async function chosenCopies(
  house: RemoveHouse,
  { name, store }: RemoveWish,
): Promise<{ copies: [JudgedCopy<Store>, ...JudgedCopy<Store>[]]; away: string[] }> {
  const { copies, away } = await findCopies(house, { name, store });
  const [first, ...more] = copies;
  if (!first) throw new UmlsnapError('NoSuchSnapshot', { snapshot: name });
  const { stored, ownership } = first;
  if (ownership.type !== 'own') {
    const facts = { snapshot: stored.snapshot, store: first.store.name, owner: ownerOf(stored) ?? null };
    throw new UmlsnapError('SnapshotOfOther', facts);
  }
  return { copies: [first, ...more], away: away.map(explainError) };
}

/**
 * A pinned one, and the last sound copy that the guest has anywhere, are not removed by a slip. A store that is away may have
 * others: nobody knows. Pure.
 */
export function whyNotRemoved(
  copies: readonly JudgedCopy[],
  others: readonly JudgedCopy[],
  rows: readonly Pick<SnapshotRecord, 'snapshot' | 'store' | 'pinned'>[],
): UmlsnapError | null {
  const isPinned = ({ store, stored }: JudgedCopy) =>
    isSound(stored)
      ? stored.manifest.pinned
      : rows.some((row) => row.snapshot === stored.snapshot && row.store === store.name && row.pinned);
  const pinned = copies.find(isPinned);
  if (pinned) return new UmlsnapError('SnapshotPinned', { snapshot: pinned.stored.snapshot });
  const isGood = ({ soundness }: JudgedCopy) => soundness.type === 'sound';
  const last = copies.find(isGood);
  if (!last || others.some(isGood)) return null;
  const { snapshot, guest } = last.stored;
  return new UmlsnapError('LastSoundSnapshot', { snapshot, guest });
}
