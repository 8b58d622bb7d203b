import { explainError } from '../src/error-text.js';
import { isHistoryFailure, UmlsnapError } from '../src/errors.js';
import type { Ownership } from '../src/history/records.js';
import type { IdMemory } from '../src/history/state-id.js';
import { storeLocks } from '../src/job/guest-locks.js';
import { type JobHistory, type JobSummary, recordedJob } from '../src/job/recorded-job.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import { recordOf } from '../src/snapshot/describe-snapshot.js';
import { ensureOwner, ownershipIn } from '../src/snapshot/ownership.js';
import type { SnapshotHistory } from '../src/snapshot/ports.js';
import { checkStore } from '../src/snapshot/preflight.js';
import type { Owner } from '../src/store/manifest.js';
import type { Store } from '../src/store/store.js';
import { isSound, type StoredSnapshot } from '../src/store/stored-snapshots.js';

/** Whose snapshots are to become ours: a host's by its name, a state's by its id, or what is nobody's. */
const nobody = 'unknown';

export interface AdoptRequest {
  /** The name of a host, the id of a state, or `nobody`. */
  of: string;
  /** Only this guest's. */
  guest?: string;
}

export interface AdoptDeps {
  stateDirectory: string;
  /** Those that are to be looked into. */
  stores: Store[];
  history: SnapshotHistory & JobHistory & IdMemory;
}

/** A snapshot that is not ours, where it lies. */
export interface Foreign {
  store: Store;
  stored: StoredSnapshot;
  ownership: Exclude<Ownership, { type: 'own' }>;
}

export interface Adoptable {
  found: Foreign[];
  /** What kept stores from being asked, and what can't be adopted. */
  problems: string[];
}

/**
 * What an adoption would make ours.
 * @throws NothingToAdopt, HostAmbiguous, HistoryUnusable, HistoryLocked
 */
export async function findAdoptable(request: AdoptRequest, deps: AdoptDeps): Promise<Adoptable> {
  const problems: string[] = [];
  const foreign: Foreign[] = [];
  for (const store of deps.stores) {
    try {
      if (!(await store.isMounted(await deps.history.storeId(store.name)))) continue;
      foreign.push(...(await foreignIn(store, request.guest, deps.history, problems)));
    } catch (error) {
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      problems.push(explainError(error));
    }
  }
  return { found: chosenOf(foreign, request.of), problems };
}

async function foreignIn(
  store: Store,
  guest: string | undefined,
  history: AdoptDeps['history'],
  problems: string[],
): Promise<Foreign[]> {
  const listed = await store.list(guest);
  const ownership = await ownershipIn(store.name, listed, history);
  const own = listed.filter((stored) => ownership(stored).type === 'own').filter(isSound);
  const found: Foreign[] = [];
  for (const stored of listed) {
    const whose = ownership(stored);
    if (whose.type === 'own') continue;
    const twin = own.find(({ snapshot }) => snapshot === stored.snapshot);
    if (!isSound(stored))
      problems.push(`${stored.snapshot} in store ${store.name} is damaged, and stays as it is`);
    else if (twin !== undefined && twin.manifest.job !== stored.manifest.job)
      problems.push(`${stored.snapshot} in store ${store.name} has the name of one of ours: export it there`);
    else found.push({ store, stored, ownership: whose });
  }
  return found;
}

/** Pure. @throws NothingToAdopt, HostAmbiguous */
export function chosenOf(foreign: Foreign[], of: string): Foreign[] {
  const isOf = ({ ownership }: Foreign) =>
    ownership.type === 'other' ? [ownership.id, ownership.host].includes(of) : false;
  const found =
    of === nobody ? foreign.filter(({ ownership }) => ownership.type === 'unknown') : foreign.filter(isOf);
  const ids = new Set(found.map(({ ownership }) => (ownership.type === 'other' ? ownership.id : nobody)));
  if (ids.size > 1) throw new UmlsnapError('HostAmbiguous', { host: of, ids: [...ids].sort() });
  if (found.length > 0) return found;
  throw new UmlsnapError('NothingToAdopt', {
    of,
    known: [...new Set(foreign.map(({ ownership }) => whose(ownership)))],
  });
}

/** `host web-1 (ID)`, `nobody known`. */
export function whose(ownership: Exclude<Ownership, { type: 'own' }>): string {
  return ownership.type === 'other' ? `host ${ownership.host} (${ownership.id})` : 'nobody known';
}

/**
 * Makes snapshots our own, where each of them lies. It MUST be durable in the store before the history says so: whoever dies between
 * the two leaves a snapshot that is ours, which `recover` enters, and the next adoption finds what is left to be done.
 * @throws HistoryUnusable, HistoryLocked; any other failure is in the summary
 */
export async function adopt(
  request: AdoptRequest,
  { found, problems }: Adoptable,
  deps: AdoptDeps,
  onAdopted: (adopted: { snapshot: string; store: string }) => void,
): Promise<JobSummary> {
  const { history, stateDirectory } = deps;
  const intent = { kind: 'adopt', guest: request.guest ?? null, trigger: 'manual' } as const;
  return await recordedJob(history, intent, async (run) => {
    const owner = await ensureOwner(stateDirectory, history);
    const adopted: { snapshot: string; store: string }[] = [];
    run.facts = { of: request.of, adopted };
    run.warnings.push(...problems);
    const failures: UmlsnapError[] = [];
    for (const one of found) {
      try {
        await adoptOne(one, owner, deps, run.job);
        const told = { snapshot: one.stored.snapshot, store: one.store.name };
        adopted.push(told);
        onAdopted(told);
      } catch (error) {
        if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
        failures.push(error);
      }
    }
    if (adopted.length === 0 && failures[0]) throw failures[0];
    run.warnings.push(...failures.map(explainError));
  });
}

async function adoptOne(
  { store, stored }: Foreign,
  owner: Owner,
  { history, stateDirectory }: AdoptDeps,
  job: string,
): Promise<void> {
  const { guest } = stored;
  const locks = await storeLocks(stateDirectory, store.path, guest);
  const what = `Guest ${guest} in store ${store.name}`;
  await withLocks({ locks, what, holder: `umlsnap adopt (job ${job})`, wait: true }, async () => {
    await checkStore(store, history);
    const manifest = await store.amend(stored, { owner });
    await history.recordSnapshot(recordOf(store.name, manifest, 'own', await store.storedBytesOf(manifest)));
  });
}
