import { explainError } from '../error-text.js';
import { isError, isHistoryFailure, UmlsnapError } from '../errors.js';
import type { SnapshotRecord } from '../history/records.js';
import { storeLocks } from '../job/guest-locks.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { recordOf } from '../snapshot/describe-snapshot.js';
import { amended, type Manifest } from '../store/manifest.js';
import type { SnapshotContent, Store } from '../store/store.js';
import { isSound } from '../store/stored-snapshots.js';
import type { CopyDeps, CopyIndex, JudgedCopy } from './ask-stores.js';
import { findCopies, readingCopy } from './find-copy.js';
import { recordedRows, restoreSourceOf, whileReading } from './find-snapshot.js';

export interface HealDeps extends CopyDeps<Store> {
  history: (CopyIndex & HealHistory) | UmlsnapError;
  stateDirectory: string;
}

interface HealHistory {
  forgetFindings(store: string, snapshot: string): Promise<void>;
  recordSnapshot(snapshot: SnapshotRecord): Promise<void>;
}

export type Healed =
  /** `left`: why the damaged one could not be deleted yet, for people. */
  | { type: 'healed'; from: string; left: string | null }
  /** Why it is as damaged as before, for people. */
  | { type: 'notHealed'; why: string };

/**
 * Brings a damaged copy of a snapshot back from a sound one in another store, the first in the order of the config that can be read.
 * The history MUST know the new copy's manifest before that takes the place of the damaged one: who dies between the two leaves one
 * that is damaged still, by what was found of it, and who dies later one that a verification finds well. What was found of the damaged
 * one MUST be gone before the new one's verification is recorded; the deletion comes last.
 * @throws the signal's reason; HistoryUnusable, HistoryLocked
 */
export async function healCopy(
  { store, stored }: { store: Store; stored: JudgedCopy['stored'] },
  job: string,
  deps: HealDeps,
  signal: AbortSignal,
): Promise<Healed> {
  const { history, stateDirectory } = deps;
  const { snapshot, guest } = stored;
  const { copies } = await findCopies(deps, { name: snapshot });
  const here = copies.find((copy) => copy.store.name === store.name && copy.stored.snapshot === snapshot);
  if (here?.ownership.type !== 'own') return { type: 'notHealed', why: 'it is not known to be ours' };
  const sources = copies.filter(
    (copy) => copy.store.name !== store.name && isWhole(copy) && isSameContent(copy, here),
  );
  let why = 'no other store has a sound copy of it';
  for (const source of sources) {
    signal.throwIfAborted();
    try {
      const locks = await storeLocks(stateDirectory, store.path, guest);
      const what = `Guest ${guest} in store ${store.name}`;
      const holder = `umlsnap verify --heal (pid ${process.pid})`;
      const left = await withLocks({ locks, what, holder, wait: true, signal }, async () => {
        const manifest = await healFrom(source, { store, stored }, deps, signal);
        await record(history, store, manifest, job);
        return await whyLeft(store);
      });
      return { type: 'healed', from: source.store.name, left };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      why = explainError(error);
      // The next one may be better; of what is wrong with the store that it goes into, none is.
      if (!isError(error, 'SnapshotDamaged')) break;
    }
  }
  return { type: 'notHealed', why };
}

/** Its bytes are those that were captured, as far as anybody knows: a bad filesystem in them is in every copy. */
const isWhole = ({ soundness: { type } }: JudgedCopy) => type === 'sound' || type === 'badFilesystem';

/** It is in no list any more: that it takes room for longer is worth a word, and no failure. */
async function whyLeft(store: Store): Promise<string | null> {
  try {
    await store.emptyTrash();
    return null;
  } catch (error) {
    return explainError(error);
  }
}

async function healFrom(
  source: JudgedCopy<Store>,
  into: { store: Store; stored: JudgedCopy['stored'] },
  deps: HealDeps,
  signal: AbortSignal,
): Promise<Manifest> {
  const { history } = deps;
  const { store, stored } = into;
  const rows = await recordedRows(history, source.stored.guest);
  const former = rows.find((row) => row.snapshot === stored.snapshot && row.store === store.name);
  const recorded = async (manifest: SnapshotRecord) => {
    if (!(history instanceof UmlsnapError)) await history.recordSnapshot(manifest);
  };
  try {
    return await readingCopy(deps, source, () =>
      whileReading(source, () =>
        store.heal(stored, contentOf(source, stored.snapshot, rows, former), {
          signal,
          onWhole: (manifest) => recorded(recordOf(store.name, manifest, 'own')),
        }),
      ),
    );
  } catch (error) {
    // The damaged one is there still: it may be found well once more, after a fault of its disk.
    if (former) await recorded(former);
    throw error;
  }
}

/** It may lie under another name there; and of a manifest that can't be read, the history still has the pin. */
function contentOf(
  source: JudgedCopy<Store>,
  snapshot: string,
  rows: SnapshotRecord[],
  former: SnapshotRecord | undefined,
): SnapshotContent {
  const content = restoreSourceOf(source, rows);
  const pinned = content.manifest.pinned || former?.pinned === true;
  return { ...content, manifest: amended(amended(content.manifest, { snapshot }), { pinned }) };
}

async function record(
  history: HealDeps['history'],
  store: Store,
  manifest: Manifest,
  job: string,
): Promise<void> {
  if (history instanceof UmlsnapError) return;
  const { snapshot } = manifest;
  await history.forgetFindings(store.name, snapshot);
  await history.recordSnapshot(recordOf(store.name, manifest, 'own', await store.storedBytesOf(manifest)));
  await history.recordVerification({
    ...{
      snapshot,
      store: store.name,
      job,
      verifiedAt: new Date().toISOString(),
      result: 'ok',
      problem: null,
    },
    ...{ readBytes: 0, filesystems: [] },
  });
}

/** What has the same name and other disks is another snapshot. One whose manifest can't be read is that of the job that is recorded of it. */
function isSameContent({ stored: one }: JudgedCopy, { stored: other, job }: JudgedCopy): boolean {
  if (!isSound(one)) return false;
  if (!isSound(other)) return one.manifest.job === job;
  const sums = ({ manifest }: typeof one) =>
    manifest.disks.map(({ device, sha256 }) => `${device} ${sha256}`).join();
  return sums(one) === sums(other);
}
