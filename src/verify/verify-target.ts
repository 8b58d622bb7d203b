import type { VerifyConfig } from '../config/verify-config.js';
import { recordedRows, restoreSourceOf, type SnapshotIndex } from '../copies/find-snapshot.js';
import { explainError } from '../error-text.js';
import { isError, type UmlsnapError } from '../errors.js';
import type { FilesystemRecord, VerificationRecord } from '../history/records.js';
import type { PaceState } from '../image/pace.js';
import { checkDisks, type ScratchPlaces } from '../restore/filesystems/check-disks.js';
import type { RestoreOptions } from '../restore/restore-source.js';
import { scratchDirectory } from '../store/layout.js';
import { verifySnapshot } from './verify-snapshot.js';
import type { Target } from './verify-targets.js';

export interface VerifyOrder {
  job: string;
  config: VerifyConfig;
  /** Where private copies are made that nothing else says a place for. */
  scratch: string;
  history: SnapshotIndex | UmlsnapError;
  /** One for all snapshots of a job. */
  pace: PaceState;
  /** What was read of each store, by its name: see `VerifyOptions`. */
  soundBackings: Map<string, Set<string>>;
  signal: AbortSignal;
  onProgress?: RestoreOptions['onProgress'];
}

export type Verified =
  | {
      found: 'verdict';
      verdict: VerificationRecord;
      /** What kept it from being read; null: it was read. */
      notRead: unknown;
    }
  /** It was removed while we read it, which says nothing against it. */
  | { found: 'gone' };

/**
 * Verifies one snapshot: its bytes first, and what lies in them only if they are as they were captured. What is wrong with it
 * is no failure of ours.
 * @throws the signal's reason
 */
export async function verifyTarget(target: Target, order: VerifyOrder): Promise<Verified> {
  const { judgement, notRead } = await judgeOrTell(target, order);
  if (judgement.result !== 'ok' && (await isGone(target))) return { found: 'gone' };
  const { snapshot } = target.stored;
  const verifiedAt = new Date().toISOString();
  const verdict = { snapshot, store: target.store.name, job: order.job, verifiedAt, ...judgement };
  return { found: 'verdict', verdict, notRead };
}

type Judgement = Pick<VerificationRecord, 'result' | 'problem' | 'readBytes' | 'filesystems'>;

async function judgeOrTell(
  target: Target,
  order: VerifyOrder,
): Promise<{ judgement: Judgement; notRead: unknown }> {
  const unread = { readBytes: 0, filesystems: [] };
  try {
    return { judgement: await judge(target, order), notRead: null };
  } catch (error) {
    order.signal.throwIfAborted();
    if (isError(error, 'SnapshotDamaged')) {
      const { problem } = error.facts;
      return { judgement: { result: 'damaged', problem, ...unread }, notRead: null };
    }
    return { judgement: { result: 'notRead', problem: explainError(error), ...unread }, notRead: error };
  }
}

async function judge(target: Target, order: VerifyOrder): Promise<Judgement> {
  const { filesystems: isToCheck, user } = order.config;
  const source = restoreSourceOf(target, await recordedRows(order.history, target.stored.guest));
  const options = optionsOf(order);
  const read = await verifySnapshot(source, { ...options, soundBackings: sharedBackings(target, order) });
  const { readBytes } = read;
  if (!read.ok) return { result: 'damaged', problem: read.problem, readBytes, filesystems: [] };
  if (!isToCheck) return { result: 'ok', problem: null, readBytes, filesystems: [] };
  const filesystems = await checkDisks(source, { ...options, places: placesOf(target, order), user });
  const bad = filesystems.find(({ verdict }) => verdict === 'bad');
  if (!bad) return { result: 'ok', problem: null, readBytes, filesystems };
  return { result: 'badFilesystem', problem: describeBad(bad), readBytes, filesystems };
}

function optionsOf({ signal, pace, onProgress }: VerifyOrder): RestoreOptions {
  return { signal, throttled: pace, ...(onProgress && { onProgress }) };
}

/** Only a directory store has them once for all of its snapshots. */
function sharedBackings({ store }: Target, { soundBackings }: VerifyOrder): Set<string> {
  const known = (store.type === 'directory' && soundBackings.get(store.name)) || new Set<string>();
  soundBackings.set(store.name, known);
  return known;
}

function placesOf({ store }: Target, { config, scratch }: VerifyOrder): ScratchPlaces {
  const beside =
    store.type === 'directory' ? { directory: store.path, scratch: scratchDirectory(store) } : null;
  return { configured: config.scratch, beside, otherwise: scratch };
}

const describeBad = ({ disk, type, reason }: FilesystemRecord) =>
  `${disk} (${type}): ${reason ?? 'it is not sound'}`;

/** A store that can't say so does not have it removed. */
async function isGone({ store, stored }: Target): Promise<boolean> {
  try {
    await store.read(stored.snapshot);
    return false;
  } catch (error) {
    return isError(error, 'NoSuchSnapshot');
  }
}
