import { asUmlsnapError } from '../src/error-text.js';
import { isError, isHistoryFailure, UmlsnapError } from '../src/errors.js';
import type { Ownership, SnapshotRecord, VerificationRecord } from '../src/history/records.js';
import { type OwnershipHistory, ownershipIn, withoutHistory } from '../src/snapshot/ownership.js';
import { guestInName, isGuestDirectory, splitSnapshotName } from '../src/store/layout.js';
import { isSound, ownerOf, type StoredSnapshot } from '../src/store/stored-snapshots.js';
import {
  asListed,
  damageMet,
  findingsIn,
  type FindingsLedger,
  type Soundness,
  unsoundWord,
} from '../src/store/soundness.js';
import type { Store } from '../src/store/store.js';
import { type FoundSnapshot, problemWith, type ReadableStore, recordedRows } from './find-snapshot.js';

/** A store of any kind, to look for copies in. */
export type SearchedStore = ReadableStore & Pick<Store, 'list'>;

export interface CopyIndex extends FindingsLedger, Omit<OwnershipHistory, 'snapshots'> {
  snapshots(filter: { guest?: string; store?: string }): Promise<SnapshotRecord[]>;
  storeId(store: string): Promise<string | null>;
  recordVerification(verification: VerificationRecord): Promise<void>;
}

export interface CopyHouse<S extends SearchedStore = SearchedStore> {
  stateDirectory: string;
  /** In the order of the config. */
  stores: S[];
  /** An error in its place says why there is none: then it is known only what the stores themselves tell. */
  history: CopyIndex | UmlsnapError;
  /** Whether the config wants drills of this guest. */
  isDrilled(guest: string): boolean;
}

export interface CopyWish {
  /** `guest@20261121T031500Z`, or `guest@latest`. */
  name: string;
  /** The only store that is asked. */
  store?: string | undefined;
  /** What is wrong with a copy is what whoever asks wants to look at: where none is sound, the first is taken. */
  takesUnsound?: boolean;
}

/** A store that was asked before the one that was taken, and why it was not that one. */
export interface PassedOver {
  store: string;
  why: string;
}

export interface JudgedCopy<S extends SearchedStore = SearchedStore> extends FoundSnapshot<S> {
  soundness: Soundness;
  ownership: Ownership;
}

export interface FoundCopy<S extends SearchedStore = SearchedStore> extends JudgedCopy<S> {
  passedOver: PassedOver[];
  /** Every copy in the stores that were asked, this one among them. */
  copies: JudgedCopy<S>[];
}

/** What a store answers: the copies that were asked for, or why it could not be asked. */
type Answer<S extends SearchedStore> =
  | { type: 'copies'; store: S; copies: JudgedCopy<S>[] }
  | { type: 'away'; store: S; error: unknown };

/**
 * Finds the copy of a snapshot that is to be read: the first sound one, in the order of the config. A store that can't be reached is
 * passed over as long as another one has the snapshot. The only place that knows what `latest` is: the newest snapshot of ours that
 * has a sound copy. What is another's is found by its name, where nothing of ours has it.
 * @throws NoSuchStore, NoSuchSnapshot, SnapshotDamaged, or what is wrong with the store that could not be asked
 */
export async function findCopy<S extends SearchedStore>(
  house: CopyHouse<S>,
  wish: CopyWish,
): Promise<FoundCopy<S>> {
  const { answers, snapshot, copies } = await search(house, wish);
  const taken = copies.find(({ soundness }) => soundness.type === 'sound') ?? copies[0];
  const isNamed = wish.store !== undefined && taken.soundness.type !== 'damaged';
  if (taken.soundness.type !== 'sound' && !isNamed && !wish.takesUnsound)
    throw await refusal(house, snapshot, copies, wish);
  return { ...taken, passedOver: passedOver(answers, snapshot, taken.store), copies };
}

/** Every copy of a snapshot, sound or not, in the order of the config. @throws as `findCopy` */
export async function findCopies<S extends SearchedStore>(
  house: CopyHouse<S>,
  wish: CopyWish,
): Promise<{ copies: JudgedCopy<S>[]; away: UmlsnapError[] }> {
  const { answers, copies } = await search(house, { ...wish, takesUnsound: true });
  const away = answers.flatMap((answer) => (answer.type === 'away' ? [asUmlsnapError(answer.error)] : []));
  return { copies, away };
}

/** Every copy of every snapshot of a guest, in stores that can be asked. */
export async function findEveryCopy<S extends SearchedStore>(
  house: CopyHouse<S>,
  guest: string,
): Promise<JudgedCopy<S>[]> {
  const answers = await askStores(house, house.stores, `${guest}@latest`);
  return answers
    .flatMap((answer) => (answer.type === 'copies' ? answer.copies : []))
    .filter(({ ownership }) => ownership.type === 'own');
}

/**
 * Runs `use`, which reads a copy. One of ours that turns out to be damaged is known to be that from then on, and the error names the
 * stores that have a sound one.
 */
export async function readingCopy<T>(
  house: CopyHouse,
  { store, stored, ownership }: FoundSnapshot<ReadableStore> & Pick<JudgedCopy, 'ownership'>,
  use: () => Promise<T>,
): Promise<T> {
  try {
    return await use();
  } catch (error) {
    if (!isError(error, 'SnapshotDamaged')) throw error;
    const { snapshot, problem } = error.facts;
    if (ownership.type === 'own') await noteDamage(house.history, { snapshot, store: store.name, problem });
    const soundIn = await soundElsewhere(house, stored.snapshot, store.name);
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem, store: store.name, soundIn }, error);
  }
}

/** Keeps damage that was met. What the history can't take changes nothing of what was found. */
export async function noteDamage(
  history: Pick<CopyIndex, 'recordVerification'> | UmlsnapError,
  found: Pick<VerificationRecord, 'snapshot' | 'store' | 'problem'>,
): Promise<void> {
  if (history instanceof UmlsnapError) return;
  try {
    await history.recordVerification(damageMet(found, new Date()));
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
  }
}

/** Asks the stores, and resolves the name. @throws as `findCopy`, where there is no copy */
async function search<S extends SearchedStore>(
  house: CopyHouse<S>,
  wish: CopyWish,
): Promise<{ answers: Answer<S>[]; snapshot: string; copies: [JudgedCopy<S>, ...JudgedCopy<S>[]] }> {
  const stores = wish.store === undefined ? house.stores : [storeNamed(house.stores, wish.store)];
  const answers = await askStores(house, stores, wish.name);
  const snapshot = isLatest(wish.name) ? newestOf(answers, wish) : wish.name;
  const [first, ...others] = copiesOf(answers, snapshot);
  if (first) return { answers, snapshot, copies: [first, ...others] };
  const away = answers.find((answer) => answer.type === 'away');
  if (away) throw away.error;
  throw new UmlsnapError('NoSuchSnapshot', { snapshot: wish.name, ofOthers: othersIn(answers) });
}

/** Whose the snapshots are that were not asked for: of these hosts; null: of nobody who is known. */
function othersIn<S extends SearchedStore>(answers: Answer<S>[]): (string | null)[] {
  const found = answers.flatMap((answer) => (answer.type === 'copies' ? answer.copies : []));
  return [...new Set(found.map(({ ownership }) => (ownership.type === 'other' ? ownership.host : null)))];
}

const isLatest = (name: string) => name.endsWith('@latest');

function storeNamed<S extends SearchedStore>(stores: S[], name: string): S {
  const store = stores.find((one) => one.name === name);
  if (store) return store;
  throw new UmlsnapError('NoSuchStore', { store: name, known: stores.map((one) => one.name) });
}

/** @throws NoSuchSnapshot for what can't be a snapshot's name */
async function askStores<S extends SearchedStore>(
  house: CopyHouse<S>,
  stores: S[],
  name: string,
): Promise<Answer<S>[]> {
  const guest = guestInName(name);
  const isName = isLatest(name) ? isGuestDirectory(guest) : splitSnapshotName(name) !== undefined;
  if (!isName) throw new UmlsnapError('NoSuchSnapshot', { snapshot: name });
  const { history, isDrilled } = house;
  const findings = await findingsIn(history, { guest });
  const rows = await recordedRows(history, guest);
  const known = history instanceof UmlsnapError ? withoutHistory(house.stateDirectory) : history;
  const id = await known.stateId();
  const ask = async (store: S): Promise<Answer<S>> => {
    try {
      const isOurs = (stored: StoredSnapshot) => ownerOf(stored)?.id === id;
      const listed = isLatest(name) ? await store.list(guest) : [await store.read(name, isOurs)];
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
        return { store, stored, soundness: judged, ownership: ownership(stored) };
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

/** The newest that has a sound copy; where none has, and for whoever takes what is not sound, the newest of all. */
function newestOf<S extends SearchedStore>(answers: Answer<S>[], { name, takesUnsound }: CopyWish): string {
  const all = answers
    .flatMap((answer) => (answer.type === 'copies' ? answer.copies : []))
    .filter(({ ownership }) => ownership.type === 'own');
  const newest = (copies: typeof all) =>
    copies
      .map(({ stored }) => stored.snapshot)
      .sort(byTime)
      .at(-1);
  const sound = newest(all.filter(({ soundness }) => soundness.type === 'sound'));
  // Of none that is sound, the refusal tells what is wrong with the newest.
  const any = takesUnsound || sound === undefined ? newest(all) : undefined;
  return sound ?? any ?? name;
}

/** By what stands behind the guest's name. Two of the same second differ by a number: `…Z`, `…Z-1`, …, `…Z-10`. */
export function byTime(one: string, other: string): number {
  const [[a, number], [b, otherNumber]] = [timeIn(one), timeIn(other)];
  return a === b ? number - otherNumber : a < b ? -1 : 1;
}

function timeIn(snapshot: string): [time: string, number: number] {
  const [, time = '', number = '0'] = /@(\d{8}T\d{6}Z)(?:-(\d{1,3}))?$/.exec(snapshot) ?? [];
  return [time, Number(number)];
}

/** Two hosts may have given one name: these are all of one snapshot, ours if one is ours. */
function copiesOf<S extends SearchedStore>(answers: Answer<S>[], snapshot: string): JudgedCopy<S>[] {
  const named = answers.flatMap((answer) =>
    answer.type === 'copies' ? answer.copies.filter(({ stored }) => stored.snapshot === snapshot) : [],
  );
  const own = named.filter(({ ownership }) => ownership.type === 'own');
  const candidates = own.length > 0 ? own : named;
  const [job] = candidates.flatMap(({ stored }) => (isSound(stored) ? [stored.manifest.job] : []));
  return candidates.filter(({ stored }) => !isSound(stored) || stored.manifest.job === job);
}

function passedOver<S extends SearchedStore>(answers: Answer<S>[], snapshot: string, taken: S): PassedOver[] {
  const before = answers.slice(
    0,
    answers.findIndex(({ store }) => store === taken),
  );
  return before.flatMap((answer): PassedOver[] => {
    const { store } = answer;
    if (answer.type === 'away') return [{ store: store.name, why: 'away' }];
    return copiesOf([answer], snapshot).flatMap(({ soundness }) =>
      soundness.type === 'sound' ? [] : [{ store: store.name, why: unsoundWord[soundness.type] }],
    );
  });
}

async function refusal<S extends SearchedStore>(
  house: CopyHouse<S>,
  snapshot: string,
  copies: JudgedCopy<S>[],
  { store }: CopyWish,
): Promise<UmlsnapError<'SnapshotDamaged'>> {
  const problems = copies.flatMap(({ store: { name }, soundness }) =>
    soundness.type === 'sound' ? [] : [{ store: name, type: soundness.type, problem: soundness.why }],
  );
  const [first] = problems;
  const problem = first?.problem ?? '';
  if (store === undefined)
    return new UmlsnapError('SnapshotDamaged', { snapshot, problem, copies: problems });
  const soundIn = await soundElsewhere(house, snapshot, store);
  return new UmlsnapError('SnapshotDamaged', { snapshot, problem, store, soundIn });
}

async function soundElsewhere(house: CopyHouse, snapshot: string, but: string): Promise<string[]> {
  const others = house.stores.filter(({ name }) => name !== but);
  const copies = copiesOf(await askStores(house, others, snapshot), snapshot);
  return copies.flatMap(({ store, soundness }) => (soundness.type === 'sound' ? [store.name] : []));
}
