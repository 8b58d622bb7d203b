import { asUmlsnapError } from '../error-text.js';
import { isError, isHistoryFailure, UmlsnapError } from '../errors.js';
import type { VerificationRecord } from '../history/records.js';
import { damageMet, unsoundWord } from '../store/soundness.js';
import { isSound } from '../store/stored-snapshots.js';
import {
  type Answer,
  askStores,
  type CopyDeps,
  type CopyIndex,
  isLatest,
  type JudgedCopy,
  type SearchedStore,
} from './ask-stores.js';
import type { FoundSnapshot, ReadableStore } from './find-snapshot.js';

export interface CopyQuery {
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

export interface FoundCopy<S extends SearchedStore = SearchedStore> extends JudgedCopy<S> {
  passedOver: PassedOver[];
  /** Every copy in the stores that were asked, this one among them. */
  copies: JudgedCopy<S>[];
}

/**
 * Finds the copy of a snapshot that is to be read: the first sound one, in the order of the config. A store that can't be reached is
 * passed over as long as another one has the snapshot. The only place that knows what `latest` is: the newest snapshot of ours that
 * has a sound copy. What is another's is found by its name, where nothing of ours has it.
 * @throws NoSuchStore, NoSuchSnapshot, SnapshotDamaged, or what is wrong with the store that could not be asked
 */
export async function findCopy<S extends SearchedStore>(
  deps: CopyDeps<S>,
  query: CopyQuery,
): Promise<FoundCopy<S>> {
  const { answers, snapshot, copies } = await search(deps, query);
  const taken = copies.find(({ soundness }) => soundness.type === 'sound') ?? copies[0];
  const isNamed = query.store !== undefined && taken.soundness.type !== 'damaged';
  if (taken.soundness.type !== 'sound' && !isNamed && !query.takesUnsound)
    throw await refusal(deps, snapshot, copies, query);
  return { ...taken, passedOver: passedOver(answers, copies, taken.store), copies };
}

/** Every copy of a snapshot, sound or not, in the order of the config. @throws as `findCopy` */
export async function findCopies<S extends SearchedStore>(
  deps: CopyDeps<S>,
  query: CopyQuery,
): Promise<{ copies: JudgedCopy<S>[]; away: UmlsnapError[] }> {
  const { answers, copies } = await search(deps, { ...query, takesUnsound: true });
  const away = answers.flatMap((answer) => (answer.type === 'away' ? [asUmlsnapError(answer.error)] : []));
  return { copies, away };
}

/** Every copy of every snapshot of a guest, in stores that can be asked. */
export async function findEveryCopy<S extends SearchedStore>(
  deps: CopyDeps<S>,
  guest: string,
): Promise<JudgedCopy<S>[]> {
  const answers = await askStores(deps, deps.stores, `${guest}@latest`);
  return answers
    .flatMap((answer) => (answer.type === 'copies' ? answer.copies : []))
    .filter(({ ownership }) => ownership.type === 'own');
}

/**
 * Runs `use`, which reads a copy. One of ours that turns out to be damaged is known to be that from then on, and the error names the
 * stores that have a sound one.
 */
export async function readingCopy<T>(
  deps: CopyDeps,
  { store, stored, ownership }: FoundSnapshot<ReadableStore> & Pick<JudgedCopy, 'ownership'>,
  use: () => Promise<T>,
): Promise<T> {
  try {
    return await use();
  } catch (error) {
    if (!isError(error, 'SnapshotDamaged')) throw error;
    const { snapshot, problem } = error.facts;
    if (ownership.type === 'own') await noteDamage(deps.history, { snapshot, store: store.name, problem });
    const soundIn = await soundElsewhere(deps, stored.snapshot, store.name);
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
  deps: CopyDeps<S>,
  query: CopyQuery,
): Promise<{ answers: Answer<S>[]; snapshot: string; copies: [JudgedCopy<S>, ...JudgedCopy<S>[]] }> {
  const stores = query.store === undefined ? deps.stores : [storeNamed(deps.stores, query.store)];
  const answers = await askStores(deps, stores, query.name);
  const snapshot = isLatest(query.name) ? newestOf(answers, query) : query.name;
  const [first, ...others] = copiesOf(answers, snapshot);
  if (first) return { answers, snapshot, copies: [first, ...others] };
  const away = answers.find((answer) => answer.type === 'away');
  if (away) throw away.error;
  throw new UmlsnapError('NoSuchSnapshot', { snapshot: query.name, ofOthers: othersIn(answers) });
}

/** Whose the snapshots are that were not asked for: of these hosts; null: of nobody who is known. */
function othersIn<S extends SearchedStore>(answers: Answer<S>[]): (string | null)[] {
  const found = answers.flatMap((answer) => (answer.type === 'copies' ? answer.copies : []));
  return [...new Set(found.map(({ ownership }) => (ownership.type === 'other' ? ownership.host : null)))];
}

function storeNamed<S extends SearchedStore>(stores: S[], name: string): S {
  const store = stores.find((one) => one.name === name);
  if (store) return store;
  throw new UmlsnapError('NoSuchStore', { store: name, known: stores.map((one) => one.name) });
}

/** The newest that has a sound copy; where none has, and for whoever takes what is not sound, the newest of all. */
function newestOf<S extends SearchedStore>(answers: Answer<S>[], { name, takesUnsound }: CopyQuery): string {
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

/**
 * Two hosts may have given one name: these are all of one snapshot, ours if one is ours, under whatever name each lies. Where it is not
 * known which job made one, its name has to do.
 */
function copiesOf<S extends SearchedStore>(answers: Answer<S>[], snapshot: string): JudgedCopy<S>[] {
  const all = answers.flatMap((answer) => (answer.type === 'copies' ? answer.copies : []));
  const named = all.filter(({ stored }) => stored.snapshot === snapshot);
  const own = named.filter(({ ownership }) => ownership.type === 'own');
  const candidates = own.length > 0 ? own : named;
  const { job = null } = candidates.find(({ stored }) => isSound(stored)) ?? candidates[0] ?? {};
  return all.filter((copy) =>
    job === null || copy.job === null ? candidates.includes(copy) : copy.job === job,
  );
}

function passedOver<S extends SearchedStore>(
  answers: Answer<S>[],
  copies: readonly JudgedCopy<S>[],
  taken: S,
): PassedOver[] {
  const before = answers.slice(
    0,
    answers.findIndex(({ store }) => store === taken),
  );
  return before.flatMap(({ type, store }): PassedOver[] => {
    if (type === 'away') return [{ store: store.name, why: 'away' }];
    return copies.flatMap(({ store: of, soundness }) =>
      of !== store || soundness.type === 'sound'
        ? []
        : [{ store: store.name, why: unsoundWord[soundness.type] }],
    );
  });
}

async function refusal<S extends SearchedStore>(
  deps: CopyDeps<S>,
  snapshot: string,
  copies: JudgedCopy<S>[],
  { store }: CopyQuery,
): Promise<UmlsnapError<'SnapshotDamaged'>> {
  const problems = copies.flatMap(({ store: { name }, soundness }) =>
    soundness.type === 'sound' ? [] : [{ store: name, type: soundness.type, problem: soundness.why }],
  );
  const [first] = problems;
  const problem = first?.problem ?? '';
  if (store === undefined)
    return new UmlsnapError('SnapshotDamaged', { snapshot, problem, copies: problems });
  const soundIn = await soundElsewhere(deps, snapshot, store);
  return new UmlsnapError('SnapshotDamaged', { snapshot, problem, store, soundIn });
}

/** The other stores that have a sound copy of a snapshot. */
export async function soundElsewhere(deps: CopyDeps, snapshot: string, but: string): Promise<string[]> {
  const others = deps.stores.filter(({ name }) => name !== but);
  const copies = copiesOf(await askStores(deps, others, snapshot), snapshot);
  return copies.flatMap(({ store, soundness }) => (soundness.type === 'sound' ? [store.name] : []));
}
