import { isHistoryFailure, UmlsnapError } from '../errors.js';
import type { BadFilesystem, BadFindings, FindingsFilter, VerificationRecord } from '../history/records.js';
import { guestInName } from './layout.js';
import { isSound, type StoredSnapshot } from './stored-snapshots.js';

/**
 * Whether a copy of a snapshot, which is the snapshot in one store, is to be relied on. Everybody who calls a snapshot good, or the
 * last good one, asks this and nothing else. `since` is when it was found, ISO 8601; null: each time that its store is asked.
 */
export type Soundness =
  | { type: 'sound' }
  /** Its bytes are not those that were captured, or are not all there: by its manifest and its files, or by its last verification. */
  | { type: 'damaged'; since: string | null; why: string }
  /** Its bytes are, and what the guest had on its disk is not sound, as a look into the copy in this store has found. */
  | { type: 'badFilesystem'; since: string; foundIn: string; why: string }
  /** It did not boot, and the config wants drills of this guest. */
  | { type: 'failedDrill'; since: string; why: string };

export type Unsound = Exclude<Soundness, { type: 'sound' }>;

/** A copy as its store lists it: `damaged` says what is wrong with its manifest or its files. */
export interface ListedCopy {
  snapshot: string;
  /** That captured it, and so says what is in it; null: not known. */
  job: string | null;
  damaged?: string;
}

/** As it was found in its store. */
export function asListed(stored: StoredSnapshot): ListedCopy {
  const { snapshot } = stored;
  return isSound(stored)
    ? { snapshot, job: stored.manifest.job }
    : { snapshot, job: null, damaged: stored.damaged };
}

/**
 * What speaks against a copy: its own last verification and its own last drill, since bytes are damaged in one place only; and a bad
 * filesystem in what it is a copy of, wherever that was found.
 */
export interface Evidence {
  verification: BadFindings['verifications'][number] | undefined;
  filesystem: BadFilesystem | undefined;
  drill: BadFindings['drills'][number] | undefined;
}

/** Pure. What is not known speaks against nothing: a verification that could not be carried out, or none at all. */
export function soundness(
  { damaged }: Pick<ListedCopy, 'damaged'>,
  { verification, filesystem, drill }: Evidence,
  isDrilled: boolean,
): Soundness {
  if (damaged !== undefined) return { type: 'damaged', since: null, why: damaged };
  const because = (problem: string | null) => (problem === null ? '' : `: ${problem}`);
  if (verification?.result === 'damaged') {
    const { verifiedAt: since, problem } = verification;
    return {
      type: 'damaged',
      since,
      why: `its last verification (${since}) found it damaged${because(problem)}`,
    };
  }
  if (filesystem) {
    const { foundAt: since, store: foundIn, problem } = filesystem;
    const found = `a verification in ${foundIn} (${since}) found a filesystem in it that is not sound`;
    return { type: 'badFilesystem', since, foundIn, why: `${found}${because(problem)}` };
  }
  if (isDrilled && drill !== undefined && !drill.passed)
    return {
      type: 'failedDrill',
      since: drill.drilledAt,
      why: `its last drill (${drill.drilledAt}) failed${because(drill.problem)}`,
    };
  return { type: 'sound' };
}

/** For people, in a word. */
export const unsoundWord: Record<Unsound['type'], string> = {
  damaged: 'damaged',
  badFilesystem: 'bad filesystem',
  failedDrill: 'failed drill',
};

/** A copy that is not sound, as far as the history knows. */
export interface UnsoundCopy {
  snapshot: string;
  store: string;
  soundness: Unsound;
}

/** Damage that somebody met who did not look for it, to be kept as what a verification has found. */
export function damageMet(
  copy: Pick<VerificationRecord, 'snapshot' | 'store' | 'problem'>,
  now: Date,
): VerificationRecord {
  const nothing = { job: null, readBytes: 0, filesystems: [] };
  return { ...copy, ...nothing, result: 'damaged', verifiedAt: now.toISOString() };
}

/** Keeps what was found out about copies. */
export interface FindingsLedger {
  badFindings(filter: FindingsFilter): Promise<BadFindings>;
}

/** What speaks against copies: read once, asked about many of them. */
export class Findings {
  readonly #verifications: Map<string, Evidence['verification']>;
  readonly #filesystems: Map<string, Evidence['filesystem']>;
  readonly #drills: Map<string, Evidence['drill']>;
  readonly #copies: BadFindings['copies'];

  constructor({ verifications, filesystems, drills, copies }: BadFindings) {
    this.#copies = copies;
    this.#filesystems = new Map(filesystems.map((one) => [contentKey(one.guest, one.job), one]));
    this.#verifications = new Map(verifications.map((one) => [keyOf(one.store, one), one]));
    this.#drills = new Map(drills.map((one) => [keyOf(one.store, one), one]));
  }

  /** Ours in these stores, newest first of each guest. @param isDrilled whether the config wants drills of this guest */
  unsound(isDrilled: (guest: string) => boolean, stores: readonly string[]): UnsoundCopy[] {
    const there = this.#copies.filter(({ store }) => stores.includes(store));
    const copies = new Map(there.map((one) => [keyOf(one.store, one), one]));
    const found = [...copies.values()].flatMap(({ store, ...copy }): UnsoundCopy[] => {
      const { snapshot } = copy;
      const judged = this.soundnessOf(store, copy, isDrilled(guestInName(snapshot)));
      return judged.type === 'sound' ? [] : [{ snapshot, store, soundness: judged }];
    });
    return found.sort((a, b) => (a.snapshot < b.snapshot ? 1 : -1));
  }

  soundnessOf(store: string, copy: ListedCopy, isDrilled: boolean): Soundness {
    const key = keyOf(store, copy);
    const content = copy.job === null ? undefined : contentKey(guestInName(copy.snapshot), copy.job);
    const evidence = {
      verification: this.#verifications.get(key),
      filesystem: content === undefined ? undefined : this.#filesystems.get(content),
      drill: this.#drills.get(key),
    };
    return soundness(copy, evidence, isDrilled);
  }
}

const keyOf = (store: string, { snapshot }: Pick<ListedCopy, 'snapshot'>) => `${store} ${snapshot}`;
const contentKey = (guest: string, job: string) => `${guest} ${job}`;

/** Of a history that there is not. */
export const noFindings: BadFindings = { verifications: [], drills: [], filesystems: [], copies: [] };

/** What is known; nothing where the history can't be used, which an error in its place tells. */
export async function findingsIn(
  history: FindingsLedger | UmlsnapError,
  filter: FindingsFilter,
): Promise<Findings> {
  if (history instanceof UmlsnapError) return new Findings(noFindings);
  try {
    return new Findings(await history.badFindings(filter));
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
    return new Findings(noFindings);
  }
}

/** What is to be done about copies of a snapshot that are not sound; null: nothing, all of them are. */
export function adviceFor(
  snapshot: string,
  copies: readonly { store: string; soundness: Soundness }[],
): string | null {
  const damaged = copies.find(({ soundness }) => soundness.type === 'damaged');
  const bad = damaged ?? copies.find(({ soundness }) => soundness.type !== 'sound');
  if (!bad) return null;
  const sound = copies.find(({ soundness }) => soundness.type === 'sound');
  if (damaged && sound)
    return `\`umlsnap verify ${snapshot} --heal\` brings the one in ${damaged.store} back from the one in ${sound.store}.`;
  if (damaged)
    return `There is no sound copy of it: take a new snapshot, then \`umlsnap remove ${snapshot}\`.`;
  const { soundness } = bad;
  const lookedAt = soundness.type === 'badFilesystem' ? soundness.foundIn : bad.store;
  const isThere = copies.some(({ store }) => store === lookedAt);
  const shown = isThere ? `; \`umlsnap show ${snapshot} --store ${lookedAt}\` has what was found` : '';
  return `Look at the guest's own disk, and take a new snapshot once it is well${shown}.`;
}
