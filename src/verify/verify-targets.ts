import type { CopyDeps, SearchedStore } from '../copies/ask-stores.js';
import { findCopies, findCopy, type PassedOver } from '../copies/find-copy.js';
import type { FoundSnapshot } from '../copies/find-snapshot.js';
import { explainError } from '../error-text.js';
import { isHistoryFailure, UmlsnapError } from '../errors.js';
import type { Ownership, VerificationRecord } from '../history/records.js';
import { type OwnershipHistory, ownershipIn } from '../snapshot/ownership.js';
import { guestInName } from '../store/layout.js';
import type { Store } from '../store/store.js';
import { isSound, type StoredSnapshot } from '../store/stored-snapshots.js';
import { type Candidate, dueOf, oldestVerifiedFirst } from './verify-order.js';

/** What is to be verified. Of null: every guest, also those that the config no longer has. */
export type VerifyScope =
  | { of: 'snapshot'; snapshot: string; store?: string | undefined }
  | { of: 'guest'; guest: string | null }
  /** As much as a scheduled run has to read, so that each snapshot is read once in the period. */
  | { of: 'due'; withinMs: number; nextRun: Date | null };

/** The guest that a job of this scope belongs to; null: to none in particular. */
export function guestOfScope(scope: VerifyScope): string | null {
  if (scope.of === 'snapshot') return guestInName(scope.snapshot);
  return scope.of === 'guest' ? scope.guest : null;
}

export type VerifiableStore = SearchedStore &
  Pick<Store, 'type'> & {
    /** Of one that has checks of its own beyond those of its snapshots. */
    checkRepository?(
      readDataPercent: number,
      signal?: AbortSignal,
    ): Promise<{ ok: true } | { ok: false; problem: string }>;
  };

export interface VerifyIndex extends OwnershipHistory {
  storeId(store: string): Promise<string | null>;
  verifications(filter: { store?: string }): Promise<VerificationRecord[]>;
}

export interface Target extends FoundSnapshot<VerifiableStore>, Candidate {
  /** What is found of another's, or nobody's, is told, and MUST NOT be kept as if it were ours. */
  isOwn: boolean;
}

export interface Targets {
  /** In the order in which they are to be read. */
  targets: Target[];
  /** Of stores that could not be asked. */
  warnings: string[];
  /** Of a named one: the stores that were asked before, and why it is not theirs. */
  passedOver: PassedOver[];
}

/**
 * Finds what is to be verified.
 * @param options with `everyCopy`, a named snapshot is verified in every store that has it
 * @throws NoSuchSnapshot, or what is wrong with the only store that could have it
 */
export async function findTargets(
  scope: VerifyScope,
  deps: CopyDeps<VerifiableStore>,
  index: VerifyIndex | UmlsnapError,
  { now, everyCopy }: { now: Date; everyCopy: boolean },
): Promise<Targets> {
  if (scope.of === 'snapshot' && everyCopy) {
    const { copies, away } = await findCopies(deps, { name: scope.snapshot, store: scope.store });
    const targets = copies.map((copy) => targetOf(copy, [], isOwn(copy.ownership)));
    return { targets, warnings: away.map(explainError), passedOver: [] };
  }
  if (scope.of === 'snapshot') {
    // What is known to be damaged may be looked at again.
    const found = await findCopy(deps, { name: scope.snapshot, store: scope.store, takesUnsound: true });
    const target = targetOf(found, [], isOwn(found.ownership));
    return { targets: [target], warnings: [], passedOver: found.passedOver };
  }
  const verified = await verifiedSoFar(index);
  const all: Targets = { targets: [], warnings: [], passedOver: [] };
  for (const store of deps.stores) {
    try {
      const guest = scope.of === 'guest' ? (scope.guest ?? undefined) : undefined;
      const listed = (await isThere(store, index)) ? await store.list(guest) : [];
      const ownership = await ownershipOfAll(store, listed, index);
      for (const stored of listed) {
        const whose = ownership(stored);
        if (isToBeRead(stored, whose)) all.targets.push(targetOf({ store, stored }, verified, isOwn(whose)));
      }
    } catch (error) {
      if (!(error instanceof UmlsnapError)) throw error;
      all.warnings.push(explainError(error));
    }
  }
  const chosen =
    scope.of === 'due' ? dueOf(all.targets, { ...scope, now }) : oldestVerifiedFirst(all.targets);
  return { ...all, targets: chosen };
}

/** Without a history all is read, as if it were ours. */
async function ownershipOfAll(
  { name }: VerifiableStore,
  listed: StoredSnapshot[],
  index: VerifyIndex | UmlsnapError,
): Promise<(stored: StoredSnapshot) => Ownership> {
  return index instanceof UmlsnapError ? () => ({ type: 'own' }) : await ownershipIn(name, listed, index);
}

/** What is another's is for that other to read. Damage is told also where nobody knows any more whose it was. */
const isToBeRead = (stored: StoredSnapshot, { type }: Ownership) =>
  type === 'own' || (type === 'unknown' && !isSound(stored));

const isOwn = ({ type }: Ownership) => type === 'own';

async function isThere(store: VerifiableStore, index: VerifyIndex | UmlsnapError): Promise<boolean> {
  const known = index instanceof UmlsnapError ? null : await index.storeId(store.name);
  return await store.isMounted(known);
}

/** Without a history everything counts as never verified. */
async function verifiedSoFar(index: VerifyIndex | UmlsnapError): Promise<VerificationRecord[]> {
  if (index instanceof UmlsnapError) return [];
  try {
    return await index.verifications({});
  } catch (error) {
    if (isHistoryFailure(error)) return [];
    throw error;
  }
}

function targetOf(
  { store, stored }: FoundSnapshot<VerifiableStore>,
  verified: VerificationRecord[],
  isOwn: boolean,
): Target {
  const last = verified.find((one) => one.store === store.name && one.snapshot === stored.snapshot);
  const takenAt = 'manifest' in stored ? new Date(stored.manifest.takenAt) : new Date(0);
  const verifiedAt = last === undefined || last.result === 'notRead' ? null : new Date(last.verifiedAt);
  return { store, stored, takenAt, verifiedAt, isOwn };
}
