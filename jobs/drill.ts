import { type DrillConfig, drillSettingsOf } from '../src/config/drill-config.js';
import type { CopyDeps, SearchedStore } from '../src/copies/ask-stores.js';
import {
  type CopyQuery,
  type FoundCopy,
  findCopy,
  noteDamage,
  type PassedOver,
} from '../src/copies/find-copy.js';
import {
  type FoundSnapshot,
  type ReadableStore,
  recordedRows,
  restoreSourceOf,
  type SnapshotIndex,
  whileReading,
} from '../src/copies/find-snapshot.js';
import { type DrillOutcome, drillSnapshot } from '../src/drill/drill-snapshot.js';
import type { DrillStep } from '../src/drill/proof-of-life.js';
import { explainError } from '../src/error-text.js';
import { type DrillFailure, isError, isHistoryFailure, UmlsnapError } from '../src/errors.js';
import type { DrillRecord, PhaseRecord, VerificationRecord } from '../src/history/records.js';
import {
  type JobHistory,
  type JobOrigin,
  type JobRun,
  type JobSummary,
  recordedIfPossible,
} from '../src/job/recorded-job.js';
import type { RestoreSource } from '../src/restore/restore-source.js';

export interface DrillJobOrder {
  snapshot: string;
  guest: string;
  /** The one that has the copy which is booted. */
  store: string;
  passedOver: PassedOver[];
  /** Of another's, damage is told, and not kept as if it were ours. */
  isOwn: boolean;
  /** @throws SnapshotDamaged, which is an outcome of the drill */
  source: () => RestoreSource;
  config: DrillConfig;
  /** Wait for the drill that is at work, instead of giving up at once. */
  wait: boolean;
  signal: AbortSignal;
}

export interface DrillHistory extends JobHistory {
  recordVerification(verification: VerificationRecord): Promise<void>;
  recordPhase(job: string, phase: PhaseRecord): Promise<void>;
  recordDrill(drill: DrillRecord): Promise<void>;
}

/**
 * Boots a snapshot to prove that it can be booted:
 * 1. the job stands in the history;
 * 2. the snapshot's disks are copied, and the copies booted in a box, until the guest has proved that it lives;
 * 3. box and copies are gone;
 * 4. how it ended stands with the copy that was booted, if it came to an outcome, and the job's end in the history.
 * A snapshot that does not pass is a failed job. A drill works without a history, as a restore does.
 * @param history an error in its place says why there is none
 */
export async function drill(
  order: DrillJobOrder,
  history: DrillHistory | UmlsnapError,
  { trigger, onJob }: JobOrigin = { trigger: 'manual' },
): Promise<JobSummary> {
  const { snapshot, guest, store, passedOver } = order;
  return await recordedIfPossible(history, { kind: 'drill', guest, trigger }, async (run) => {
    run.facts = { snapshot, store, passedOver, drill: null, steps: [], console: [], foundLine: null };
    onJob?.(run.job);
    const steps = new StepLog(run);
    const outcome = await outcomeOf(order, run, steps);
    const lastLine = outcome.console.at(-1) ?? null;
    const failed =
      outcome.failure &&
      new UmlsnapError('DrillFailed', { snapshot, ...outcome.failure, job: run.job, lastLine });
    // The kernel was up by then, though it gave up before we had seen it.
    const isBefore = run.phase === 'start' || run.phase === 'kernel';
    if (failed && isBefore && ofInit.includes(failed.facts.failure)) run.phase = 'init' satisfies DrillStep;
    Object.assign(run.facts, {
      drill: failed ? 'failed' : 'passed',
      ...{ console: outcome.console, foundLine: outcome.foundLine },
    });
    const problem = failed ? explainError(failed) : null;
    // Whether drills are wanted or not: its bytes are not those that were captured.
    if (failed?.facts.failure === 'damaged' && order.isOwn)
      await noteDamage(history, { snapshot, store, problem });
    await record(history, run, steps.phases, { snapshot, guest, store, passed: !failed, problem });
    if (failed) throw failed;
  });
}

/** The copy that is to be booted: one that failed a drill may be drilled again, and of one that is damaged a drill tells it. */
export async function findDrilled<S extends SearchedStore>(
  deps: CopyDeps<S>,
  query: Pick<CopyQuery, 'name' | 'store'>,
): Promise<FoundCopy<S>> {
  return await findCopy({ ...deps, isDrilled: () => false }, { ...query, takesUnsound: true });
}

/** Drills a snapshot of a store, which nobody can remove meanwhile. @throws NoSuchSnapshot when somebody has by now */
export async function drillFound(
  found: FoundSnapshot<ReadableStore> & Partial<Pick<FoundCopy, 'passedOver' | 'ownership'>>,
  { config, history }: { config: DrillConfig; history: (DrillHistory & SnapshotIndex) | UmlsnapError },
  { wait, signal }: Pick<DrillJobOrder, 'wait' | 'signal'>,
  origin?: JobOrigin,
): Promise<JobSummary> {
  const { snapshot, guest } = found.stored;
  const rows = await recordedRows(history, guest);
  const source = () => restoreSourceOf(found, rows);
  const { passedOver = [], ownership } = found;
  const isOwn = ownership === undefined || ownership.type === 'own';
  const order = { snapshot, guest, passedOver, isOwn, store: found.store.name, source, config, wait, signal };
  return await whileReading(found, () => drill(order, history, origin));
}

const ofInit: DrillFailure[] = ['rootNotMounted', 'noInit', 'initDied'];

async function outcomeOf(order: DrillJobOrder, run: JobRun, steps: StepLog): Promise<DrillOutcome> {
  const { guest, config, wait, signal } = order;
  const holder = `drill of ${order.snapshot} (pid ${process.pid}, job ${run.job})`;
  const { scratch, user } = config;
  const settings = drillSettingsOf(config, guest);
  try {
    const source = order.source();
    return await drillSnapshot({ source, settings, scratch, user, holder, wait, signal, step: steps.step });
  } catch (error) {
    if (!isError(error, 'SnapshotDamaged')) throw error;
    const failure = { failure: 'damaged' as const, detail: error.facts.problem };
    return { failure, console: [], foundLine: null };
  }
}

/** What the history can't take changes nothing of what came out. */
async function record(
  history: DrillHistory | UmlsnapError,
  { job, warnings }: JobRun,
  phases: PhaseRecord[],
  outcome: Omit<DrillRecord, 'job' | 'drilledAt'>,
): Promise<void> {
  if (history instanceof UmlsnapError) return;
  try {
    for (const phase of phases) await history.recordPhase(job, phase);
    await history.recordDrill({ ...outcome, job, drilledAt: new Date().toISOString() });
  } catch (error) {
    // Of a job whose beginning it would not take it has been told already.
    if (isError(error, 'NoSuchJob')) return;
    if (!isHistoryFailure(error)) throw error;
    warnings.push(explainError(error));
  }
}

/** The steps of a drill, each with its time. */
class StepLog {
  readonly phases: PhaseRecord[] = [];
  readonly #run: JobRun;

  constructor(run: JobRun) {
    this.#run = run;
  }

  readonly step = async <T>(step: DrillStep, work: () => Promise<T>): Promise<T> => {
    this.#run.phase = step;
    const startedAt = new Date().toISOString();
    const startedMs = performance.now();
    let outcome: PhaseRecord['outcome'] = 'failed';
    try {
      const result = await work();
      outcome = 'done';
      return result;
    } finally {
      const durationMs = Math.round(performance.now() - startedMs);
      const phase: PhaseRecord = { phase: step, startedAt, durationMs, outcome, facts: {} };
      this.phases.push(phase);
      this.#run.log.phaseEnded(phase);
      this.#run.facts.steps = this.phases.map(({ phase: step, durationMs: tookMs, outcome: ended }) => ({
        ...{ step, tookMs, outcome: ended },
      }));
    }
  };
}
