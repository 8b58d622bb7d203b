import type { CaptureProgress } from '../src/capture/capture.js';
import type { GuestConfig } from '../src/config/config.js';
import { type Filled, fillStores } from '../src/copies/fill-stores.js';
import type { SnapshotIndex } from '../src/copies/find-snapshot.js';
import { everyStoreOf, type GuestStores } from '../src/copies/guest-stores.js';
import { agentCure, writingText } from '../src/error-text.js';
import { isError, UmlsnapError } from '../src/errors.js';
import { isHalted } from '../src/guest/guest-condition.js';
import { backupsThatTell, expectedLevel, isWeaker, levelsReached } from '../src/history/levels.js';
import type { StoreGap } from '../src/history/overview-queries.js';
import type { JobRecord, Trigger } from '../src/history/records.js';
import type { IdMemory } from '../src/history/state-id.js';
import type { FillProgress } from '../src/job/backup-progress.js';
import { guestLocks } from '../src/job/guest-locks.js';
import {
  type JobHistory,
  type JobRun,
  type JobSummary,
  type OnJob,
  recordedJob,
} from '../src/job/recorded-job.js';
import { type LeaseHistory, settleOwnLease } from '../src/job/recover-at-start.js';
import { withHooks } from '../src/job/with-hooks.js';
import type { WantedBackup } from '../src/job/with-snapshot-options.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import { ensureOwner } from '../src/snapshot/ownership.js';
import { type OnPhase, PhaseJournal } from '../src/snapshot/phase-journal.js';
import type { SnapshotHistory } from '../src/snapshot/ports.js';
import type { FindSource, SnapshotTaken } from '../src/snapshot/snapshot-order.js';
import { takeSnapshot } from '../src/snapshot/take-snapshot.js';
import { sizesOf } from '../src/store/manifest.js';

export interface BackupOrder extends WantedBackup {
  trigger: Trigger;
  /** Aborted with the reason why it is not waited for any longer; a backup that has begun goes on. */
  patience?: AbortSignal;
  /** Aborted with the reason why the job is to be given up. */
  signal: AbortSignal;
  onJob?: OnJob;
  onPhase?: OnPhase;
  /** Told of a precopy while it goes on; the guest runs. */
  onProgress?: (progress: CaptureProgress) => void;
  /** Told of snapshots that are carried into other stores; the guest runs. */
  onFill?: (progress: FillProgress) => void;
}

export interface EarlierBackups {
  /** Newest first. */
  jobs(filter: { guest: string; kind: 'backup'; limit: number }): Promise<JobRecord[]>;
  storeGaps(
    pairs: readonly { guest: string; store: string }[],
    stores: readonly string[],
  ): Promise<StoreGap[]>;
}

export interface BackupDeps {
  stateDirectory: string;
  stores: GuestStores;
  history: SnapshotHistory & SnapshotIndex & JobHistory & LeaseHistory & IdMemory & EarlierBackups;
  /** Whoever listens to this guest's notifications already. */
  notifications?: FindSource;
}

/**
 * One backup of one guest:
 * 1. nobody else works on the guest, its disks, or its part of the store;
 * 2. the job stands in the history;
 * 3. nothing that we left paused before is still open;
 * 4. the sequence runs, between the host's hooks, unless the guest is halted when it is due: then the job is left out;
 * 5. the guest's other stores get what they lack, of a halted guest as well: the snapshot is good whatever becomes of that;
 * 6. the job's end stands in the history.
 * @throws Busy, HistoryUnusable, HistoryLocked; any other failure is in the summary
 */
export async function backup(order: BackupOrder, deps: BackupDeps): Promise<JobSummary> {
  const { config, trigger, wait, dryRun, signal } = order;
  const kind = dryRun ? 'dry-run' : 'backup';
  const locks = await guestLocks(kind, config, [deps.stores.capturedInto.path], deps.stateDirectory);
  const patience = order.patience ? AbortSignal.any([signal, order.patience]) : signal;
  return await withLocks({ ...locks, wait, signal: patience }, async () => {
    return await recordedJob(deps.history, { kind, guest: config.name, trigger }, (run) => {
      run.facts = { ...factsOfNone, budgetMs: config.pauseBudgetMs, dryRun };
      order.onJob?.(run.job);
      return settledFirst(order, deps, run, async () => {
        const inPhases = (use: typeof snapshotOf) => withJournal(order, deps, run, use);
        if (await isHaltedWhenDue(order, deps.history)) return await inPhases(leaveOut);
        const work = () => inPhases(snapshotOf);
        return dryRun ? work() : withHooks(config, run, signal, work);
      });
    });
  });
}

/** A guest that we left paused MUST run again before anything else is done, a hook of the user's above all. */
async function settledFirst(
  { config, signal }: BackupOrder,
  { stateDirectory, history }: BackupDeps,
  run: JobRun,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await settleOwnLease(stateDirectory, config.name, history);
  } catch (thrown) {
    throw failedWith(run, whatToTell(thrown, signal));
  }
  await work();
}

/** What tells a halted guest from a config that is wrong is that it was backed up before. Whoever asks by hand is told what is there. */
async function isHaltedWhenDue(
  { config, trigger }: BackupOrder,
  history: BackupDeps['history'],
): Promise<boolean> {
  if (trigger !== 'schedule' && trigger !== 'catchUp') return false;
  const earlier = await history.snapshots({ guest: config.name, own: true });
  return earlier.length > 0 && (await isHalted(config));
}

/** Notes its phases, and what a failure leaves the guest in. */
async function withJournal(
  order: BackupOrder,
  deps: BackupDeps,
  run: JobRun,
  use: typeof snapshotOf,
): Promise<void> {
  const onPhase: OnPhase = (phase) => {
    run.phase = phase;
    order.onPhase?.(phase);
  };
  const journal = new PhaseJournal(run.job, deps.history, onPhase, (ended) => run.log.phaseEnded(ended));
  try {
    await use(order, deps, run, journal);
  } catch (thrown) {
    const error = failedWith(run, whatToTell(thrown, order.signal));
    // The cause counts: a history that fails as well is told when the job's end is written.
    await journal.finish('failed').catch(() => {});
    if (run.facts.resumed) run.log.info('nothing of this job keeps the guest paused');
    throw error;
  } finally {
    run.facts.phases = journal.records;
  }
}

/** The last that a halted guest has written is safe only once its other stores have it too. @throws GuestHalted */
async function leaveOut(
  order: BackupOrder,
  deps: BackupDeps,
  run: JobRun,
  journal: PhaseJournal,
): Promise<never> {
  const { stores, history } = deps;
  const guest = order.config.name;
  const lacking = await history.storeGaps(
    stores.filled.map(({ name }) => ({ guest, store: name })),
    everyStoreOf(stores).map(({ name }) => name),
  );
  // To ask a repository each hour for months, for nothing, would cost its host more than the guest did.
  if (lacking.some(({ missed }) => missed > 0)) await fillOthers(order, deps, run, journal);
  run.phase = 'preflight';
  throw new UmlsnapError('GuestHalted', { guest });
}

/** What is wrong with one of them is a warning. */
async function fillOthers(
  { config, signal, onFill }: BackupOrder,
  { stateDirectory, stores, history }: BackupDeps,
  run: JobRun,
  journal: PhaseJournal,
): Promise<void> {
  const order = { config, stores, stateDirectory, signal, onProgress: onFill };
  const filled = await fillStores(order, { history, journal });
  run.facts.filled = filled;
  for (const { store, renamed } of filled) {
    for (const { snapshot, as } of renamed)
      run.log.info(`${snapshot} is ${as} in store ${store}: its own name is another host's there`);
  }
  run.warnings.push(...warningsOf(filled));
}

async function snapshotOf(
  order: BackupOrder,
  deps: BackupDeps,
  run: JobRun,
  journal: PhaseJournal,
): Promise<void> {
  const { config, labels, pinned, dryRun, signal } = order;
  const { stateDirectory, stores, history, notifications } = deps;
  const onProgress = order.onProgress ?? (() => {});
  const owner = await ensureOwner(stateDirectory, history);
  const sequence = {
    ...{ job: run.job, owner, config, labels, pinned, dryRun, stateDirectory, onProgress, signal },
  };
  const store = stores.capturedInto;
  const ports = { store, history, journal, log: run.log, ...(notifications && { notifications }) };
  const taken = await takeSnapshot(sequence, ports);
  await journal.finish('done');
  Object.assign(run.facts, factsOf(taken));
  run.warnings.push(...taken.warnings);
  run.log.warnings(run.warnings);
  const note = noteOf(taken, config);
  if (note !== null) run.log.info(note);
  run.facts.note = note;
  if (dryRun) {
    const earlier = { guest: config.name, kind: 'backup', limit: backupsThatTell } as const;
    const expected = expectedLevel(levelsReached(await history.jobs(earlier)));
    run.facts.expected = expected;
    const { require } = config;
    // Of `frozen` the agent, which was asked, tells more.
    if (expected !== null && require !== 'frozen' && isWeaker(expected.level, require))
      run.warnings.push(
        `\`${expected.level}\` is expected, and \`${require}\` is required: a weaker backup fails`,
      );
  } else await fillOthers(order, deps, run, journal);
}

/** What every summary has (design §8), of a job that has taken no snapshot. */
const factsOfNone = {
  ...{ snapshot: null, consistency: null, dirtyKib: null, method: null },
  ...{ tracker: null, precopy: null, note: null },
  ...{ pausedMs: null, resumed: true, sizeBytes: null, storedBytes: null, filled: [], phases: [] },
};

/** Notes what a failure says of the guest. */
function failedWith(run: JobRun, error: unknown): unknown {
  run.facts.resumed = !statesNotRunning.includes(codeOf(error));
  Object.assign(run.facts, factsOfFailure(error));
  return error;
}

/** What is known all the same, though no snapshot was kept. */
function factsOfFailure(error: unknown): Record<string, unknown> {
  if (isError(error, 'PauseBudgetExceeded')) return { pausedMs: error.facts.pausedMs };
  if (!isError(error, 'ConsistencyTooWeak')) return {};
  return { consistency: error.facts.reached, dirtyKib: error.facts.dirtyKib };
}

function factsOf({ manifest, plan, precopy, tries, removed }: SnapshotTaken): Record<string, unknown> {
  const tracker = precopy?.tracker ?? plan.tracker;
  const chosen = { method: plan.method, tracker, reason: plan.reason, precopy, tries, removed };
  if (!manifest) return { ...chosen, predictedPauseMs: plan.predictedPauseMs, dataBytes: plan.dataBytes };
  const { snapshot, consistency, dirtyKib, pausedMs } = manifest;
  return {
    ...chosen,
    ...{ snapshot, consistency, dirtyKib, pausedMs },
    ...sizesOf(manifest),
  };
}

function warningsOf(filled: Filled[]): string[] {
  return filled.flatMap(({ store, problems, warnings }) => [
    ...problems.map((problem) => `store ${store} does not have all of the guest's snapshots yet: ${problem}`),
    ...warnings.map((warning) => `store ${store}: ${warning}`),
  ]);
}

/** What is less than it could be, and no failure: the config is content with it. Other CPUs of a guest no agent freezes. */
function noteOf({ manifest, hasAgent, written }: SnapshotTaken, { allowSmp }: GuestConfig): string | null {
  if (manifest?.consistency !== 'crash') return null;
  const what = `The guest ${writingText(manifest.dirtyKib, written)}: its snapshot is as after a power cut.`;
  return hasAgent || allowSmp ? what : `${what} ${agentCure}`;
}

/** An interruption shows as whatever it broke; what is told is the interruption, unless the guest may be paused. */
function whatToTell(thrown: unknown, signal: AbortSignal): unknown {
  if (!signal.aborted || isError(thrown, 'GuestMayBePaused') || isError(thrown, 'GuestGone')) return thrown;
  return signal.reason instanceof UmlsnapError ? signal.reason : thrown;
}

/** Errors after which a guest is not known to run. */
const statesNotRunning = [
  'GuestMayBePaused',
  'GuestHalted',
  'GuestGone',
  'GuestPanicked',
  'GuestAlreadyStopped',
];

function codeOf(error: unknown): string {
  return error instanceof UmlsnapError ? error.code : '';
}
