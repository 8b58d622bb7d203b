import { hostname } from 'node:os';
import type { Ownership, SnapshotRecord } from '../history/records.js';
import { ensureStateId, type IdMemory, readStateId } from '../history/state-id.js';
import type { Owner } from '../store/manifest.js';
import type { Store } from '../store/store.js';
import { isSound, ownerOf, type StoredSnapshot, whyDamaged } from '../store/stored-snapshots.js';

/** What tells our own snapshots from those of others. */
export interface OwnershipHistory {
  stateId(): Promise<string | null>;
  /** Those of these jobs that are ours. */
  knownJobs(jobs: readonly string[]): Promise<ReadonlySet<string>>;
  snapshots(filter: { store: string; guest?: string }): Promise<SnapshotRecord[]>;
}

/** What `ownershipOf` goes by. */
export interface Ours {
  id: string | null;
  jobs: ReadonlySet<string>;
  /** Names that the history has as ours in the store, and that no sound one of ours has there; asked of what is damaged. */
  recorded: ReadonlySet<string>;
}

/**
 * Whose a snapshot is, as its store tells it. One without an owner is of the first format: it is ours if our history has the job
 * that made it. One that is damaged is ours if it was. What is nobody's MUST be treated as another's. Pure.
 */
export function ownershipOf(stored: StoredSnapshot, { id, jobs, recorded }: Ours): Ownership {
  const owner = ownerOf(stored);
  if (owner !== undefined) return owner.id === id ? { type: 'own' } : { type: 'other', ...owner };
  const isOurs = isSound(stored) ? jobs.has(stored.manifest.job) : recorded.has(stored.snapshot);
  return { type: isOurs ? 'own' : 'unknown' };
}

/** Whose these snapshots of a store are. Asks the history only for what they do not tell themselves. */
export async function ownershipIn(
  store: string,
  listed: StoredSnapshot[],
  history: OwnershipHistory,
): Promise<(stored: StoredSnapshot) => Ownership> {
  const untold = listed.filter((stored) => ownerOf(stored) === undefined);
  const jobs = untold.filter(isSound).map(({ manifest }) => manifest.job);
  const rows = untold.every(isSound) ? [] : await history.snapshots({ store });
  const id = await history.stateId();
  const known = jobs.length === 0 ? new Set<string>() : await history.knownJobs(jobs);
  const recorded = new Set(rows.filter(({ own }) => own).map(({ snapshot }) => snapshot));
  const ours: Ours = { id, jobs: known, recorded };
  // Another host may have given one name to one of its own.
  for (const stored of listed.filter(isSound))
    if (ownershipOf(stored, ours).type === 'own') recorded.delete(stored.snapshot);
  return (stored) => ownershipOf(stored, ours);
}

/** Where the history can't be used: the file with our id still tells what is ours. */
export function withoutHistory(stateDirectory: string): OwnershipHistory {
  return {
    stateId: () => readStateId(stateDirectory).catch(() => null),
    knownJobs: async () => new Set(),
    snapshots: async () => [],
  };
}

/**
 * Our own snapshots of a guest in a store, newest first, damaged ones included: what rules and counts are about. One whose manifest is
 * not the recorded one is damaged: nobody restores from it, and so it MUST take the place of no other.
 */
export async function listOwn(
  store: Pick<Store, 'name'> & { list(guest: string): Promise<StoredSnapshot[]> },
  guest: string,
  history: OwnershipHistory,
): Promise<StoredSnapshot[]> {
  const listed = await store.list(guest);
  const ownership = await ownershipIn(store.name, listed, history);
  const rows = await history.snapshots({ store: store.name, guest });
  return listed
    .filter((stored) => ownership(stored).type === 'own')
    .map((stored) => asRecorded(stored, rows));
}

function asRecorded(stored: StoredSnapshot, rows: readonly SnapshotRecord[]): StoredSnapshot {
  const damaged = whyDamaged(
    stored,
    rows.find(({ snapshot }) => snapshot === stored.snapshot),
  );
  if (damaged === undefined || !isSound(stored)) return stored;
  const { snapshot, guest, directory } = stored;
  const owner = ownerOf(stored);
  return { snapshot, guest, directory, damaged, ...(owner && { owner }) };
}

/** What our snapshots are sealed with. @throws StateUnusable, HistoryUnusable, HistoryLocked */
export async function ensureOwner(stateDirectory: string, memory: IdMemory): Promise<Owner> {
  return { id: await ensureStateId(stateDirectory, memory), host: plainHost(hostname()) };
}

/** Bounded and plain, as a manifest has it. */
export function plainHost(name: string): string {
  return (
    name
      .replace(/^[^A-Za-z0-9]+/, '')
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .slice(0, 64) || 'nameless'
  );
}
