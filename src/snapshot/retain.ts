import { uptimeMs } from '../clock.js';
import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import { isError, isHistoryFailure } from '../errors.js';
import { type RetentionPlan, applyKeepPolicy } from '../retention/apply-keep-policy.js';
import type { VerificationRecord } from '../history/records.js';
import type { RetentionCandidate } from '../retention/candidate.js';
import {
  asListed,
  damageMet,
  type Findings,
  findingsIn,
  type FindingsLedger,
  type Soundness,
} from '../store/soundness.js';
import type { StoredSnapshot } from '../store/stored-snapshots.js';
import type { BackingSweep, BackingSweepOptions } from '../store/unneeded-backings.js';
import { type ClaimHistory, claimUnowned } from './claim-unowned.js';
import { type OwnershipHistory, listOwn } from './ownership.js';
import type { SnapshotStore } from './ports.js';
import { previousSweep, rememberSweep, type SweepLedger } from './sweep-memory.js';

/** What retention needs of a store. */
export type RetentionStore = Pick<
  SnapshotStore,
  'name' | 'list' | 'moveToTrash' | 'emptyTrash' | 'sweepBackings' | 'amend' | 'storedBytesOf'
>;

/** What retention reads in the history, and writes there. */
export interface RetentionHistory extends SweepLedger, FindingsLedger, OwnershipHistory, ClaimHistory {
  recordVerification(verification: VerificationRecord): Promise<void>;
  forgetSnapshot(
    store: string,
    snapshot: string,
    removal: { removedAt: string; reason: string },
  ): Promise<void>;
}

export interface RetainOptions {
  now: Date;
  /** Tells, and changes nothing. */
  dryRun?: boolean;
  /** A person says that `now` is the time, whatever speaks against it. */
  clockIsRight?: boolean;
}

export interface Retained {
  kept: { snapshot: string; reasons: string[] }[];
  removed: { snapshot: string; reason: string }[];
  /** Backing files that no snapshot needs any more, and why none of them could be removed now. */
  backings: BackingSweep;
  warnings: string[];
}

/**
 * Removes a guest's expired snapshots, of our own: what is another's, or nobody's, is neither counted nor removed. MUST run only after
 * a snapshot that succeeded, or by hand. Each is taken out of the store durably before the history says that it is gone, and deleted
 * after that. What can't be removed now stays, with a warning: a snapshot too many harms nobody.
 */
export async function retain(
  config: GuestConfig,
  store: RetentionStore,
  history: RetentionHistory,
  options: RetainOptions,
): Promise<Retained> {
  const began = { now: options.now, uptimeMs: uptimeMs() };
  const findings = await findingsIn(history, { store: store.name, guest: config.name });
  const planner = await retentionPlanner(config, store.name, { findings, history }, options);
  const claims: string[] = [];
  let own = await listOwn(store, config.name, history);
  if (!options.dryRun && (await claimUnowned(own, store, history, claims)))
    own = await listOwn(store, config.name, history);
  const plan = planner(own);
  const { keep, remove } = plan;
  const warnings = [...claims, ...plan.warnings];
  const retained: Retained = { kept: [...keep], removed: [], backings: noBackings, warnings };
  if (options.dryRun) {
    const removed = remove.map(({ snapshot, reason }) => ({ snapshot, reason }));
    const without = new Set(remove.map(({ snapshot }) => snapshot));
    const backings = await sweepBackings(store, { dryRun: true, without }, retained.warnings);
    return { ...retained, removed, backings };
  }
  await noteDamage(own, store.name, { findings, history }, options.now);
  for (const { candidate, reason } of remove)
    await removeOne(candidate.stored, reason, store, history, options.now, retained);
  await emptyTrash(store, retained.warnings);
  const backings = await sweepBackings(store, { dryRun: false, without: new Set() }, retained.warnings);
  await rememberSweep(history, store.name, config.name, plan, began);
  return { ...retained, backings };
}

/** What a store lists as damaged is known to be that by whoever asks the history alone: pages, metrics, `status`. */
async function noteDamage(
  listed: readonly StoredSnapshot[],
  store: string,
  { findings, history }: { findings: Findings; history: RetentionHistory },
  now: Date,
): Promise<void> {
  for (const stored of listed) {
    if ('manifest' in stored) continue;
    const { snapshot, damaged: problem } = stored;
    if (findings.soundnessOf(store, { snapshot, job: null }, false).type === 'damaged') continue;
    await history.recordVerification(damageMet({ snapshot, store, problem }, now));
  }
}

/** The store MUST have let go of it durably before the history says so, and nothing of it is deleted before that. */
async function removeOne(
  stored: StoredSnapshot,
  reason: string,
  store: RetentionStore,
  history: RetentionHistory,
  now: Date,
  retained: Retained,
): Promise<void> {
  const { snapshot } = stored;
  try {
    await store.moveToTrash(stored);
    await history.forgetSnapshot(store.name, snapshot, { removedAt: now.toISOString(), reason });
    retained.removed.push({ snapshot, reason });
  } catch (error) {
    if (isHistoryFailure(error)) throw error;
    if (isError(error, 'Busy')) {
      retained.kept.push({ snapshot, reasons: ['expired, and being read now: it goes the next time'] });
      return;
    }
    retained.warnings.push(`expired snapshot ${snapshot} could not be removed: ${explainError(error)}`);
  }
}

/** What lies there is in no list any more: that it takes room for longer is a warning. */
async function emptyTrash(store: RetentionStore, warnings: string[]): Promise<void> {
  try {
    await store.emptyTrash();
  } catch (error) {
    warnings.push(
      `what was removed from store ${store.name} could not be deleted yet: ${explainError(error)}`,
    );
  }
}

const noBackings: BackingSweep = { removed: [], held: null };

/** Snapshots come first: what goes wrong with files that nobody needs is a warning. */
async function sweepBackings(
  store: RetentionStore,
  options: BackingSweepOptions,
  warnings: string[],
): Promise<BackingSweep> {
  try {
    return (await store.sweepBackings?.(options)) ?? noBackings;
  } catch (error) {
    warnings.push(`unneeded backing files could not be removed: ${explainError(error)}`);
    return noBackings;
  }
}

/** What a guest's keep rules say of these snapshots, if they lie together in one store. */
export type RetentionPlanner = (snapshots: StoredSnapshot[]) => RetentionPlan<StoredCandidate>;

export interface StoredCandidate extends RetentionCandidate {
  stored: StoredSnapshot;
}

/** Reads what the history knows of the last sweep, once; what it gives is pure. */
export async function retentionPlanner(
  config: GuestConfig,
  store: string,
  { findings, history }: { findings: Findings; history: SweepLedger },
  { now, clockIsRight = false }: RetainOptions,
): Promise<RetentionPlanner> {
  const previous = await previousSweep(history, store, config.name);
  const options = { now, timezone: config.timezone, previous, clockIsRight };
  return (snapshots) =>
    applyKeepPolicy(
      snapshots.map((stored) =>
        candidateOf(stored, findings.soundnessOf(store, asListed(stored), config.isDrilled)),
      ),
      config.keep,
      options,
    );
}

function candidateOf(stored: StoredSnapshot, found: Soundness): StoredCandidate {
  const { snapshot } = stored;
  const { takenAt, pinned } =
    'manifest' in stored ? stored.manifest : { takenAt: takenAtOf(snapshot), pinned: false };
  if (found.type === 'sound') return { stored, snapshot, takenAt, pinned, good: true };
  return { stored, snapshot, takenAt, pinned, good: false, problem: found.why };
}

/** A snapshot whose manifest can't be read still carries its time in its name, `guest@20261121T031500Z`. */
function takenAtOf(snapshot: string): string {
  const time = /@(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(snapshot);
  if (!time) return new Date(0).toISOString();
  const [, year, month, day, hour, minute, second] = time;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
}
