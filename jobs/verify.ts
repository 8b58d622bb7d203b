import { join } from 'node:path';
import type { Config } from '../src/config/config.js';
import type { CopyIndex } from '../src/copies/ask-stores.js';
import { soundElsewhere } from '../src/copies/find-copy.js';
import { type HealDeps, type Healed, healCopy } from '../src/copies/heal-copy.js';
import { explainError } from '../src/error-text.js';
import { isHistoryFailure, UmlsnapError } from '../src/errors.js';
import type { CapturedBy, VerificationRecord } from '../src/history/records.js';
import { newPace } from '../src/image/pace.js';
import {
  type JobHistory,
  type JobOrigin,
  type JobSummary,
  recordedIfPossible,
} from '../src/job/recorded-job.js';
import { isSound } from '../src/store/stored-snapshots.js';
import { type VerifyProgress, VerifyTally } from '../src/verify/verify-tally.js';
import { type VerifyOrder, verifyTarget } from '../src/verify/verify-target.js';
import {
  findTargets,
  guestOfScope,
  type Target,
  type VerifiableStore,
  type VerifyIndex,
  type VerifyScope,
} from '../src/verify/verify-targets.js';

export type VerifyHistory = JobHistory &
  VerifyIndex &
  CopyIndex & { recordVerification(verification: VerificationRecord, by?: CapturedBy): Promise<void> };

export interface VerifyDeps {
  config: Config;
  stateDirectory: string;
  stores: VerifiableStore[];
  /** An error in its place says why there is none. */
  history: VerifyHistory | UmlsnapError;
  isDrilled(guest: string): boolean;
}

export interface VerifyWork {
  signal: AbortSignal;
  onProgress?: (progress: VerifyProgress) => void;
  /** Brings copies that are found damaged back from sound ones. */
  heals?: HealDeps;
}

/**
 * Reads snapshots again:
 * 1. those of the scope, the one that was verified longest ago first;
 * 2. each against its checksums, and then the filesystems in it; what it comes to is in the history before the next begins;
 * 3. with `heals`, those that are damaged are brought back from sound copies;
 * 4. the stores of these that have a check of their own, such as restic's repositories, are checked by that, a part of their data
 *    each time;
 * 5. a bad one stops none of the others: at the end, the job fails and names them all.
 * @throws NoSuchSnapshot; any other failure is in the summary
 */
export async function verify(
  scope: VerifyScope,
  deps: VerifyDeps,
  work: VerifyWork,
  { trigger, onJob }: JobOrigin = { trigger: 'manual' },
): Promise<JobSummary> {
  const { history } = deps;
  const { targets, warnings, passedOver } = await findTargets(scope, deps, history, {
    now: new Date(),
    everyCopy: work.heals !== undefined,
  });
  const intent = { kind: 'verify' as const, guest: guestOfScope(scope), trigger };
  return await recordedIfPossible(history, intent, async (run) => {
    onJob?.(run.job);
    run.warnings.push(...warnings);
    const tally = new VerifyTally(targets, work.onProgress);
    const pace = newPace(deps.config.verify.bytesPerSecond);
    const soundBackings = new Map<string, Set<string>>();
    const damaged: { target: Target; verdict: VerificationRecord }[] = [];
    try {
      for (const target of targets) {
        work.signal.throwIfAborted();
        const job = { job: run.job, pace, soundBackings, signal: work.signal };
        const verdict = await verifyOne(target, deps, job, tally);
        if (verdict?.result === 'damaged') damaged.push({ target, verdict });
      }
      // Once all are read: which of the others is sound is known best then.
      for (const { target, verdict } of work.heals ? damaged : []) {
        const healed = await healOne(target, run.job, work);
        tally.takeHealed(verdict, healed);
      }
      if (scope.of !== 'snapshot') await checkStores(targets, work.signal, tally);
    } finally {
      run.facts = { ...tally.facts(scope.of === 'snapshot'), ...(scope.of === 'snapshot' && { passedOver }) };
      run.warnings.push(...tally.warnings());
    }
    if (scope.of !== 'snapshot') tally.requireAllGood();
    // One that could not be brought back has been told why.
    else tally.requireGood(work.heals ? [] : await soundCopies(deps, damaged[0]?.target));
  });
}

/** Stores that have a sound copy of a damaged one. */
async function soundCopies(deps: VerifyDeps, damaged: Target | undefined): Promise<string[]> {
  return damaged ? await soundElsewhere(deps, damaged.stored.snapshot, damaged.store.name) : [];
}

/** What a store's own check reads each time, chosen anew: twenty runs come to most of it. */
const readDataPercent = 5;

async function checkStores(
  targets: readonly Target[],
  signal: AbortSignal,
  tally: VerifyTally,
): Promise<void> {
  for (const store of new Set(targets.map((target) => target.store))) {
    try {
      const verdict = await store.checkRepository?.(readDataPercent, signal);
      if (verdict && !verdict.ok) tally.takeBadStore(store, verdict.problem);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof UmlsnapError)) throw error;
      tally.warn(explainError(error));
    }
  }
}

/** By the store as healing has it: one that can be written to. */
async function healOne(
  { store: { name }, stored }: Target,
  job: string,
  { heals, signal }: VerifyWork,
): Promise<Healed> {
  const store = heals?.stores.find((one) => one.name === name);
  if (!heals || !store)
    throw new UmlsnapError('Internal', { problem: `store ${name} is verified, and can't be healed` });
  return await healCopy({ store, stored }, job, heals, signal);
}

async function verifyOne(
  target: Target,
  { config, history }: VerifyDeps,
  job: Pick<VerifyOrder, 'job' | 'pace' | 'soundBackings' | 'signal'>,
  tally: VerifyTally,
): Promise<VerificationRecord | null> {
  const scratch = join(config.state, 'scratch');
  const onProgress = tally.reading(target);
  const verified = await verifyTarget(target, {
    ...job,
    config: config.verify,
    scratch,
    history,
    onProgress,
  });
  if (verified.found === 'gone') {
    tally.skip(target);
    return null;
  }
  const { verdict } = verified;
  tally.take(target, verified);
  try {
    if (!(history instanceof UmlsnapError) && target.isOwn)
      await history.recordVerification(verdict, capturedBy(target));
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
    tally.warn(explainError(error));
  }
  return verdict;
}

const capturedBy = ({ stored }: Target): CapturedBy | undefined =>
  isSound(stored) ? { guest: stored.guest, job: stored.manifest.job } : undefined;
