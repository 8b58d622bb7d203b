import { isError, isHistoryFailure, UmlsnapError } from '../errors.js';
import type { Ownership, SnapshotRecord, VerificationRecord } from '../history/records.js';
import { type OwnershipHistory, ownershipIn, withoutHistory } from '../snapshot/ownership.js';
import { guestInName, isGuestDirectory, splitSnapshotName } from '../store/layout.js';
import { asListed, type FindingsLedger, findingsIn, type Soundness } from '../store/soundness.js';
import type { Store } from '../store/store.js';
import { isSound, ownerOf, type StoredSnapshot } from '../store/stored-snapshots.js';
import { type FoundSnapshot, problemWith, type ReadableStore, recordedRows } from './find-snapshot.js';

/** A store of any kind, to look for copies in. */
export type SearchedStore = ReadableStore & Pick<Store, 'list'>;

export interface CopyIndex extends FindingsLedger, Omit<OwnershipHistory, 'snapshots'> {
  snapshots(filter: { guest?: string; store?: string }): Promise<SnapshotRecord[]>;
  storeId(store: string): Promise<string | null>;
  recordVerification(verification: VerificationRecord): Promise<void>;
}

export interface CopyDeps<S extends SearchedStore = SearchedStore> {
  stateDirectory: string;
  /** In the order of the config. */
  stores: S[];
  /** An error in its place says why there is none: then it is known only what the stores themselves tell. */
  history: CopyIndex | UmlsnapError;
  /** Whether the config wants drills of this guest. */
  isDrilled(guest: string): boolean;
}

export interface JudgedCopy<S extends SearchedStore = SearchedStore> extends FoundSnapshot<S> {
  soundness: Soundness;
  ownership: Ownership;
  /** The job that made it: of one whose manifest can't be read, as the history has it; null: not known. */
  job: string | null;
}

/** What a store answers: the copies that were asked for, or why it could not be asked. */
export type Answer<S extends SearchedStore> =
  | { type: 'copies'; store: S; copies: JudgedCopy<S>[] }
  | { type: 'away'; store: S; error: unknown };

export const isLatest = (name: string) => name.endsWith('@latest');

/**
 * Asks stores for the copies of a snapshot, or of all of a guest's for `guest@latest`, and judges each: whether it is sound, and whose
 * it is. Asked for are also those that the history knows to be of the same job, and which had to be carried under another name. A store
 * that can't be asked stands in no other one's way.
 * @throws NoSuchSnapshot for what can't be a snapshot's name
 */
export async function askStores<S extends SearchedStore>(
  deps: CopyDeps<S>,
  stores: S[],
  name: string,
): Promise<Answer<S>[]> {
  const guest = guestInName(name);
  const isName = isLatest(name) ? isGuestDirectory(guest) : splitSnapshotName(name) !== undefined;
  if (!isName) throw new UmlsnapError('NoSuchSnapshot', { snapshot: name });
  const { history, isDrilled } = deps;
  const findings = await findingsIn(history, { guest });
  const rows = await recordedRows(history, guest);
  const known = history instanceof UmlsnapError ? withoutHistory(deps.stateDirectory) : history;
  const id = await known.stateId();
  const ask = async (store: S): Promise<Answer<S>> => {
    try {
      const isOurs = (stored: StoredSnapshot) => ownerOf(stored)?.id === id;
      const names = [name, ...otherNamesIn(store.name, name, rows)];
      const listed = isLatest(name) ? await store.list(guest) : await readAll(store, names, isOurs);
      // An empty mount point has none either.
      if (listed.length === 0) throw new UmlsnapError('NoSuchSnapshot', { snapshot: name });
      const told = await ownershipIn(store.name, listed, known);
      // Without a history nobody can tell whose those of the first format are: then they are taken for ours.
      const ownership = (stored: StoredSnapshot): Ownership =>
        known !== history && told(stored).type === 'unknown' ? { type: 'own' } : told(stored);
      const copies = listed.map((stored) => {
        const damaged = problemWith({ store, stored }, rows);
        const copy = { ...asListed(stored), ...(damaged !== undefined && { damaged }) };
        const judged = findings.soundnessOf(store.name, copy, isDrilled(guest));
        const job = jobOf({ store, stored }, rows);
        return { store, stored, soundness: judged, ownership: ownership(stored), job };
      });
      return { type: 'copies', store, copies };
    } catch (error) {
      const whyAway = await whyNotAsked(store, history, error);
      if (whyAway === undefined) return { type: 'copies', store, copies: [] };
      return { type: 'away', store, error: whyAway };
    }
  };
  const answers: Answer<S>[] = [];
  for (const store of stores) answers.push(await ask(store));
  return answers;
}

function otherNamesIn(store: string, name: string, rows: readonly SnapshotRecord[]): string[] {
  const jobs = rows.filter(({ snapshot }) => snapshot === name).map(({ job }) => job);
  return rows
    .filter((row) => row.store === store && row.snapshot !== name && jobs.includes(row.job))
    .map(({ snapshot }) => snapshot);
}

/** Those of these names that are there. */
async function readAll(
  store: SearchedStore,
  names: readonly string[],
  isOurs: (stored: StoredSnapshot) => boolean,
): Promise<StoredSnapshot[]> {
  const found: StoredSnapshot[] = [];
  for (const name of names) {
    try {
      found.push(await store.read(name, isOurs));
    } catch (error) {
      if (!isError(error, 'NoSuchSnapshot')) throw error;
    }
  }
  return found;
}

function jobOf(
  { store, stored }: FoundSnapshot<SearchedStore>,
  rows: readonly SnapshotRecord[],
): string | null {
  if (isSound(stored)) return stored.manifest.job;
  return rows.find((row) => row.snapshot === stored.snapshot && row.store === store.name)?.job ?? null;
}

/** What keeps a store from being asked; undefined when it was asked, or was never used and has nothing to be asked for. */
async function whyNotAsked(
  store: ReadableStore,
  history: CopyIndex | UmlsnapError,
  error: unknown,
): Promise<unknown> {
  try {
    const known = history instanceof UmlsnapError ? null : await history.storeId(store.name);
    if (!(await store.isMounted(known))) return undefined;
  } catch (whyNotMounted) {
    if (isHistoryFailure(whyNotMounted)) throw whyNotMounted;
    return whyNotMounted;
  }
  return isError(error, 'NoSuchSnapshot') ? undefined : error;
}
