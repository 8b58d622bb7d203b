import { explainError } from '../src/error-text.js';
import { isError, isHistoryFailure, problemOf, UmlsnapError } from '../src/errors.js';
import { withLocks } from '../src/exclusive-lock.js';
import type { JobEnd, JobRecord, PauseEnd, PauseRecord, SnapshotRecord } from '../src/history/records.js';
import { dropLease, endLease } from '../src/pause/lease.js';
import { type RecoveredPause, recoverPauses } from '../src/pause/recover-pauses.js';
import { bootId, isAlive } from '../src/process-identity.js';
import { recordOf } from '../src/snapshot/describe-snapshot.js';
import type { Incoming } from '../src/store/incoming.js';
import type { StoredSnapshot } from '../src/store/stored-snapshots.js';
import { storeLock } from './guest-locks.js';
import type { JobHistory } from './recorded-job.js';

export interface LeaseHistory {
  openPauses(): Promise<PauseRecord[]>;
  endPause(pause: string, end: PauseEnd): Promise<void>;
}

export interface RecoverHistory extends LeaseHistory, Pick<JobHistory, 'finishJob'> {
  runningJobs(): Promise<JobRecord[]>;
  storeId(store: string): Promise<string | null>;
  rememberStore(store: string, id: string): Promise<void>;
  snapshots(filter: { store: string }): Promise<SnapshotRecord[]>;
  recordSnapshot(snapshot: SnapshotRecord): Promise<void>;
  forgetSnapshot(
    store: string,
    snapshot: string,
    removal: { removedAt: string; reason: string },
  ): Promise<void>;
}

export interface RecoverStore {
  readonly name: string;
  readonly path: string;
  /** True when it has been made a store once, and is mounted. */
  isMounted(expectedId: string | null): Promise<boolean>;
  prepare(expectedId: string | null): Promise<{ id: string }>;
  incomings(): Promise<Incoming[]>;
  discard(incoming: Incoming): Promise<void>;
  emptyTrash(): Promise<void>;
  list(): Promise<StoredSnapshot[]>;
}

export interface RecoverHouse {
  history: RecoverHistory;
  stores: RecoverStore[];
}

/** What `recover` found and did. */
export interface Recovered {
  resumed: string[];
  closedJobs: string[];
  discarded: string[];
  indexed: string[];
  forgotten: string[];
  /** Pauses that could not be ended: guests that may be paused. */
  mayBePaused: { guest: string; problem: string }[];
  /** Stores that could not be looked at, and why. */
  problems: string[];
}

/**
 * What every start does once the guests run (`recoverPauses`, which needs no history and MUST come before it is opened):
 * writes down how their pauses ended, and closes the jobs of dead processes.
 * @throws HistoryUnusable, HistoryLocked
 */
export async function recoverAtStart(history: RecoverHistory, pauses: RecoveredPause[]): Promise<Recovered> {
  const recovered = nothingYet();
  for (const found of pauses) await settleLease(found, history, recovered);
  await closeDeadJobs(history, recovered);
  return recovered;
}

/**
 * The same where the history can't be used: leases stay, with how their pause ended, until there is a history that can be
 * told.
 */
export function recoverWithoutHistory(pauses: RecoveredPause[]): Recovered {
  const recovered = nothingYet();
  for (const found of pauses) {
    if (found.found === 'mayBePaused') recovered.mayBePaused.push(stuckGuest(found));
    if (found.found !== 'over' || found.lease.ended) continue;
    if (found.resumedByUs) recovered.resumed.push(found.lease.guest);
    try {
      endLease(found.file, found.lease.pause, found.end);
    } catch (error) {
      // The guest runs, which is what counts; the next `recover` asks it again.
      recovered.problems.push(`${found.file} could not be brought up to date: ${problemOf(error)}`);
    }
  }
  return recovered;
}

function nothingYet(): Recovered {
  return {
    ...{ resumed: [], closedJobs: [], discarded: [], indexed: [], forgotten: [] },
    ...{ mayBePaused: [], problems: [] },
  };
}

const stuckGuest = ({ guest, problem }: { guest: string; problem: string }) => ({ guest, problem });

/**
 * Puts everything right that a death can leave behind, beyond what every start does:
 * 1. the incoming copies and removals of dead jobs are cleaned up; 2. the history's index of snapshots is what the stores
 * hold. Adds to what the start has `recovered`.
 * @throws HistoryUnusable, HistoryLocked
 */
export async function recover(house: RecoverHouse, recovered: Recovered): Promise<void> {
  for (const store of house.stores) {
    try {
      if (!(await isThere(store, house.history))) continue;
      await discardLeftovers(store, recovered);
      await store.emptyTrash();
      await rebuildIndex(store, house.history, recovered);
    } catch (error) {
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      recovered.problems.push(explainError(error));
    }
  }
}

/**
 * Before new work on a guest, whose lock is held: a lease of it can only be one of a pause that is over, or went wrong.
 * @throws GuestMayBePaused
 */
export async function settleOwnLease(
  stateDirectory: string,
  guest: string,
  history: LeaseHistory,
): Promise<void> {
  for (const found of await recoverPauses(stateDirectory, guest)) {
    const settled = { resumed: [], mayBePaused: [] as Recovered['mayBePaused'] };
    await settleLease(found, history, settled);
    const [stuck] = settled.mayBePaused;
    if (stuck) throw new UmlsnapError('GuestMayBePaused', { ...stuck, guardianPid: null });
  }
}

/** The history MUST know how a pause ended before its lease is dropped. */
async function settleLease(
  found: RecoveredPause,
  history: LeaseHistory,
  recovered: Pick<Recovered, 'resumed' | 'mayBePaused'>,
): Promise<void> {
  if (found.found === 'inProgress') return;
  if (found.found === 'mayBePaused') {
    recovered.mayBePaused.push(stuckGuest(found));
    return;
  }
  // A history that was deleted since knows nothing of the pause.
  const isOpen = (await history.openPauses()).some(({ pause }) => pause === found.lease.pause);
  if (isOpen) await history.endPause(found.lease.pause, found.end);
  dropLease(found.file, found.lease.pause);
  if (found.resumedByUs) recovered.resumed.push(found.lease.guest);
}

async function closeDeadJobs(history: RecoverHistory, recovered: Recovered): Promise<void> {
  const isDead = (job: JobRecord) =>
    job.bootId !== bootId() || !isAlive({ pid: job.pid, startTicks: job.pidStartTicks });
  const dead = (await history.runningJobs()).filter(isDead);
  const openPauses = await history.openPauses();
  for (const { job } of dead) {
    const finishedAt = new Date().toISOString();
    // Its lease is gone or was dealt with above: whatever guarded this pause has ended it.
    const open = openPauses.filter(
      (pause) => pause.job === job && !recovered.mayBePaused.some((g) => g.guest === pause.guest),
    );
    for (const { pause } of open)
      await history.endPause(pause, { pausedMs: null, endedBy: 'guardian', endedAt: finishedAt });
    const message = 'The process that worked on it died; what it had begun was undone.';
    const error = { phase: 'unknown', code: 'Interrupted', message };
    const end: JobEnd = { status: 'interrupted', finishedAt, error, warnings: [], summary: {} };
    if (await closeJob(history, job, end)) recovered.closedJobs.push(job);
  }
}

/** False when another command that is starting as well was faster. */
async function closeJob(history: RecoverHistory, job: string, end: JobEnd): Promise<boolean> {
  try {
    await history.finishJob(job, end);
    return true;
  } catch (error) {
    if (isError(error, 'JobEnded')) return false;
    throw error;
  }
}

/** A store that was never used is not made here, and one that should be there and is not is told. */
async function isThere(store: RecoverStore, history: RecoverHistory): Promise<boolean> {
  const known = await history.storeId(store.name);
  if (known === null && !(await store.isMounted(null))) return false;
  const { id } = await store.prepare(known);
  // A history that is new would else not miss the store when it is away.
  if (known === null) await history.rememberStore(store.name, id);
  return true;
}

async function discardLeftovers(store: RecoverStore, recovered: Recovered): Promise<void> {
  for (const incoming of await store.incomings()) {
    const keys = [storeLock(store.path, incoming.guest)];
    const what = `Guest ${incoming.guest} in store ${store.name}`;
    try {
      await withLocks({ keys, holder: 'umlsnap recover', what, wait: false }, () => store.discard(incoming));
      recovered.discarded.push(`${incoming.guest}/${incoming.job}`);
    } catch (error) {
      // Somebody is at work on this guest: it is not a leftover.
      if (!isError(error, 'Busy')) throw error;
    }
  }
}

/** The store is the truth: rows follow it, in both directions. */
async function rebuildIndex(
  store: RecoverStore,
  history: RecoverHistory,
  recovered: Recovered,
): Promise<void> {
  const rows = new Map((await history.snapshots({ store: store.name })).map((row) => [row.snapshot, row]));
  const found = await store.list();
  for (const stored of found) {
    if (!('manifest' in stored)) continue;
    const row = rows.get(stored.snapshot);
    if (!row) {
      await history.recordSnapshot(recordOf(store.name, stored.manifest));
      recovered.indexed.push(stored.snapshot);
    } else if (row.manifestSha256 !== stored.manifestSha256) {
      // Taking the new one over would hide a forged manifest behind a history that agrees with it.
      recovered.problems.push(`the manifest of ${stored.snapshot} is not the one that was recorded`);
    }
  }
  const present = new Set(found.map(({ snapshot }) => snapshot));
  const removal = { removedAt: new Date().toISOString(), reason: 'it is no longer in the store' };
  for (const snapshot of rows.keys()) {
    if (present.has(snapshot)) continue;
    await history.forgetSnapshot(store.name, snapshot, removal);
    recovered.forgotten.push(snapshot);
  }
}
