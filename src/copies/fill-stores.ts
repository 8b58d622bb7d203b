import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import { isError, isHistoryFailure, UmlsnapError } from '../errors.js';
import type { SnapshotRecord } from '../history/records.js';
import type { ImageProgress, ImageWorkOptions } from '../image/image-work.js';
import type { FillProgress } from '../job/backup-progress.js';
import { storeLocks } from '../job/guest-locks.js';
import { holderOf, withLocks } from '../locks/exclusive-lock.js';
import type { RestoreSource } from '../restore/restore-source.js';
import { recordOf } from '../snapshot/describe-snapshot.js';
import { listOwn } from '../snapshot/ownership.js';
import type { PhaseJournal } from '../snapshot/phase-journal.js';
import type { SnapshotHistory } from '../snapshot/ports.js';
import { checkStore } from '../snapshot/preflight.js';
import { retain, retentionPlanner } from '../snapshot/retain.js';
import { amended, type Manifest } from '../store/manifest.js';
import { damageMet, type Findings, findingsIn } from '../store/soundness.js';
import type { Store } from '../store/store.js';
import { clearStaging } from './clear-staging.js';
import { recordedRows, restoreSourceOf, type SnapshotIndex, whileReading } from './find-snapshot.js';
import type { GuestStores } from './guest-stores.js';
import { type Carriable, carriableFrom, freeName, missingIn } from './missing-snapshots.js';

/** What became of one store. */
export interface Filled {
  store: string;
  carried: string[];
  /** Of these, those whose name another's snapshot has there: they are there under the next free one. */
  renamed: { snapshot: string; as: string }[];
  /** What the carried ones take there. */
  carriedBytes: number;
  removed: string[];
  /** Empty: the store has all that it should have now. */
  problems: string[];
  /** What its retention had to say. */
  warnings: string[];
}

export interface FillOrder {
  config: GuestConfig;
  stores: GuestStores;
  stateDirectory: string;
  signal: AbortSignal;
  onProgress?: ((progress: FillProgress) => void) | undefined;
}

export interface FillPorts {
  history: SnapshotHistory & SnapshotIndex;
  journal: PhaseJournal;
}

/**
 * Carries a guest's snapshots into its other stores, while the guest runs: not only the one that was just taken, but all that
 * a store which was away has missed. What is wrong with one store MUST NOT cost the snapshot, or keep another store from its
 * own.
 * @throws HistoryUnusable, HistoryLocked, or the signal's reason; all else is in `problems`
 */
export async function fillStores(order: FillOrder, ports: FillPorts): Promise<Filled[]> {
  const filled: Filled[] = [];
  for (const target of order.stores.filled) {
    order.signal.throwIfAborted();
    await ports.journal.enter('fill');
    const one = await fillOne(order, target, ports);
    const { store, carried, carriedBytes, removed, problems } = one;
    ports.journal.note({ store, carried: carried.length, carriedBytes, removed: removed.length });
    await ports.journal.finish(problems.length === 0 ? 'done' : 'failed');
    filled.push(one);
  }
  return filled;
}

async function fillOne(order: FillOrder, target: Store, { history }: FillPorts): Promise<Filled> {
  const { config, stores, signal } = order;
  const nothing = { carried: [], renamed: [], carriedBytes: 0, removed: [], problems: [], warnings: [] };
  const filled: Filled = { store: target.name, ...nothing };
  try {
    await withPartOf(target, order, async () => {
      await checkStore(target, history);
      await requireOtherPlace(target, stores.capturedInto, history);
      const findings = await findingsIn(history, { guest: config.name });
      const known = { findings, history };
      const carriable = await carriableInto(target, order, known, filled);
      const planner = await retentionPlanner(config, target.name, known, { now: new Date() });
      const missing = missingIn(await listOwn(target, config.name, history), carriable, planner);
      await carry(missing, target, await recordedRows(history, config.name), { ...order, history }, filled);
      if (stores.isStaging && target === stores.filled[0]) {
        await clearStaging(config, stores.capturedInto, target, history, new Date());
      }
      const { removed, warnings } = await retain(config, target, history, { now: new Date() });
      filled.removed = removed.map(({ snapshot }) => snapshot);
      filled.warnings = warnings;
    });
  } catch (error) {
    if (signal.aborted || isHistoryFailure(error)) throw error;
    filled.problems.push(explainError(error));
  }
  return filled;
}

/** A mount may lead both names to one place: then what lies there is no second copy, and goes with the first. @throws StoreUnusable */
async function requireOtherPlace(target: Store, first: Store, history: SnapshotHistory): Promise<void> {
  if ((await history.storeId(target.name)) !== (await history.storeId(first.name))) return;
  const problem = `by its marker it is the store ${first.name} as well: the same place, or a copy of it with its marker`;
  throw new UmlsnapError('StoreUnusable', { store: target.name, path: target.path, problem });
}

/** What was captured, and where that only waits to be carried into an archive, what the archive has. */
async function carriableInto(
  target: Store,
  { config, stores }: FillOrder,
  known: { findings: Findings; history: SnapshotHistory },
  filled: Filled,
): Promise<Carriable[]> {
  const { capturedInto, isStaging, filled: others } = stores;
  const captured = await carriableFrom([capturedInto], config.name, known);
  const [archive] = others;
  if (!isStaging || archive === undefined || archive === target) return captured;
  try {
    return await carriableFrom([capturedInto, archive], config.name, known);
  } catch (error) {
    filled.problems.push(explainError(error));
    return captured;
  }
}

/**
 * The store is the truth and its index follows: a row MUST NOT come before the snapshot is durable there. What was found of a copy
 * that was there before MUST be gone before that: it says nothing of this one.
 */
async function carry(
  missing: Carriable[],
  target: Store,
  rows: SnapshotRecord[],
  { signal, onProgress, history }: Pick<FillOrder, 'signal' | 'onProgress'> & { history: SnapshotHistory },
  filled: Filled,
): Promise<void> {
  for (const found of missing) {
    signal.throwIfAborted();
    try {
      const source = restoreSourceOf(found, rows);
      const { snapshot } = found.stored;
      const told = (progress: ImageProgress) => onProgress?.({ store: target.name, snapshot, ...progress });
      const options = { signal, onProgress: told };
      const kept = await whileReading(found, () => receiveUnderFreeName(target, source, options));
      await history.forgetFindings(target.name, kept.snapshot);
      const record = recordOf(target.name, kept, 'own', await target.storedBytesOf(kept));
      await history.recordSnapshot(record);
      filled.carried.push(kept.snapshot);
      if (kept.snapshot !== snapshot) filled.renamed.push({ snapshot, as: kept.snapshot });
      filled.carriedBytes += record.storedBytes;
    } catch (error) {
      // One that is bad where it lies: the others are not.
      if (!isError(error, 'SnapshotDamaged') && !isError(error, 'TooLarge')) throw error;
      filled.problems.push(explainError(error));
      if (!isError(error, 'SnapshotDamaged')) continue;
      const copy = { snapshot: found.stored.snapshot, store: found.store.name };
      await history.recordVerification(damageMet({ ...copy, problem: error.facts.problem }, new Date()));
    }
  }
}

/** So often the names of a store may be taken by others while a snapshot is on its way there. */
const triesForName = 3;

/** Two hosts that began in the same second gave one name to two snapshots: neither MUST be lost for the other. @throws SnapshotExists */
async function receiveUnderFreeName(
  target: Store,
  source: RestoreSource,
  options: ImageWorkOptions,
): Promise<Manifest> {
  const { guest, snapshot } = source.manifest;
  const taken = new Set((await target.list(guest)).map((stored) => stored.snapshot));
  for (let tries = 1; ; tries += 1) {
    const name = freeName(snapshot, taken);
    if (name === undefined) throw new UmlsnapError('SnapshotExists', { store: target.name, snapshot });
    try {
      return await target.receive(
        { ...source, manifest: amended(source.manifest, { snapshot: name }) },
        options,
      );
    } catch (error) {
      if (!isError(error, 'SnapshotExists') || tries === triesForName) throw error;
      taken.add(name);
    }
  }
}

/** How long somebody may be at work on the guest's part of a store (pins it, say) before it is left to the next job. */
const patienceMs = 30_000;

/** @throws Busy */
async function withPartOf(
  target: Store,
  { config, stateDirectory, signal }: FillOrder,
  use: () => Promise<void>,
): Promise<void> {
  const locks = await storeLocks(stateDirectory, target.path, config.name);
  const what = `Guest ${config.name} in store ${target.name}`;
  const holder = `umlsnap filling ${target.name} (pid ${process.pid})`;
  const patience = AbortSignal.timeout(patienceMs);
  const lock = { locks, what, holder, wait: true, signal: AbortSignal.any([signal, patience]) };
  let isOurs = false;
  try {
    await withLocks(lock, async () => {
      isOurs = true;
      await use();
    });
  } catch (error) {
    if (isOurs || !patience.aborted) throw error;
    throw new UmlsnapError('Busy', { what, holder: (await holderOf(...locks)) ?? 'another process' });
  }
}
