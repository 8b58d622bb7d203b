import { randomBytes } from 'node:crypto';
import { compactUtc } from '../clock.js';
import { asUmlsnapError, explainError } from '../error-text.js';
import { type ErrorCode, isHistoryFailure, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodeOf, exitCodes } from '../exit-codes.js';
import type { JobEnd, JobFailure, JobKind, JobLogLine, JobStart, Trigger } from '../history/records.js';
import { bootId, ownIdentity } from '../process-identity.js';
import { JobLog } from './job-log.js';

export interface JobHistory {
  startJob(start: JobStart): Promise<void>;
  finishJob(job: string, end: JobEnd, log: readonly JobLogLine[]): Promise<void>;
}

export interface JobIntent {
  kind: JobKind;
  guest: string | null;
  trigger: Trigger;
}

/** Told the name of a job, once it stands in the history and before its work begins. */
export type OnJob = (job: string) => void;

/** How a job came to be, for kinds that are begun by hand, by request and by a daemon itself. */
export interface JobOrigin {
  trigger: Trigger;
  onJob?: OnJob;
}

/** What a job prints with `--json` and leaves in the history; each kind adds its own facts. */
export interface JobSummary {
  type: 'summary';
  job: string;
  kind: JobKind;
  guest: string | null;
  status: JobEnd['status'];
  warnings: string[];
  error: (JobFailure & { code: ErrorCode }) | null;
  [fact: string]: unknown;
}

/** The exit code of a command whose job came to this. */
export function exitCodeOfSummary({ error, status }: Pick<JobSummary, 'error' | 'status'>): ExitCode {
  if (error) return exitCodeOf(error.code);
  return status === 'warning' ? exitCodes.warnings : exitCodes.done;
}

/** A job at work, as its own steps see it. */
export interface JobRun {
  readonly job: string;
  /** The phase that a failure from here on belongs to. */
  phase: string;
  /** Facts for the summary, whether the job succeeds or fails later. */
  facts: Record<string, unknown>;
  warnings: string[];
  /** Warnings and the end come into it by themselves. */
  readonly log: JobLog;
}

/**
 * Runs a job's work with its record in the history. The record MUST be there before the work begins, so that `recover`
 * finds a job that died. A failure of the work is told in the summary; only a history that can't be written throws.
 */
export async function recordedJob(
  history: JobHistory,
  intent: JobIntent,
  work: (run: JobRun) => Promise<void>,
): Promise<JobSummary> {
  const { run, start } = begin(intent);
  await history.startJob(start);
  const { summary, end } = await runToItsEnd(run, start, work);
  try {
    await history.finishJob(run.job, end, run.log.lines());
    return summary;
  } catch (error) {
    // The cause counts, a guest that may be paused above all.
    if (!isHistoryFailure(error) || summary.error === null) throw error;
    return withWarning(summary, error);
  }
}

/**
 * As `recordedJob`, for work that MUST NOT depend on the history, restoring above all: what the history can't take is a
 * warning. An error in place of the history says why there is none.
 */
export async function recordedIfPossible(
  history: JobHistory | UmlsnapError,
  intent: JobIntent,
  work: (run: JobRun) => Promise<void>,
): Promise<JobSummary> {
  const { run, start } = begin(intent);
  const recordIn = await historyThatTakes(history, start, run.warnings);
  const { summary, end } = await runToItsEnd(run, start, work);
  try {
    await recordIn?.finishJob(run.job, end, run.log.lines());
    return summary;
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
    return withWarning(summary, error);
  }
}

function withWarning(summary: JobSummary, error: UmlsnapError): JobSummary {
  const warnings = [...summary.warnings, explainError(error)];
  return { ...summary, warnings, status: summary.status === 'success' ? 'warning' : summary.status };
}

async function historyThatTakes(
  history: JobHistory | UmlsnapError,
  start: JobStart,
  warnings: string[],
): Promise<JobHistory | undefined> {
  try {
    if (history instanceof UmlsnapError) throw history;
    await history.startJob(start);
    return history;
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
    warnings.push(explainError(error));
    return undefined;
  }
}

function begin(intent: JobIntent): { run: JobRun; start: JobStart } {
  const startedAt = new Date();
  const job = newJobName(startedAt);
  const start = { ...intent, ...ownerOfJob(), job, startedAt: startedAt.toISOString() };
  const log = new JobLog();
  log.began(start);
  return { run: { job, phase: intent.kind, facts: {}, warnings: [], log }, start };
}

async function runToItsEnd(
  run: JobRun,
  { kind, guest, startedAt }: JobStart,
  work: (run: JobRun) => Promise<void>,
): Promise<{ summary: JobSummary; end: JobEnd }> {
  const error = await failureOf(run, work);
  const finishedAt = new Date();
  const status = statusOf(run, error);
  const { job, warnings, facts, log } = run;
  const durationMs = finishedAt.getTime() - Date.parse(startedAt);
  log.warnings(warnings);
  log.ended(status, durationMs, error);
  const summary: JobSummary = {
    ...{ type: 'summary', job, kind, guest, status, warnings, startedAt, durationMs },
    ...facts,
    error,
  };
  return { summary, end: { status, warnings, error, summary, finishedAt: finishedAt.toISOString() } };
}

function statusOf(run: JobRun, error: JobSummary['error']): JobSummary['status'] {
  if (error?.code === 'Interrupted') return 'interrupted';
  // Nothing has failed, though the job had begun: there was nothing to back up any more.
  if (error?.code === 'GuestHalted') return 'skipped';
  if (error) return 'failed';
  return run.warnings.length > 0 ? 'warning' : 'success';
}

async function failureOf(run: JobRun, work: (run: JobRun) => Promise<void>): Promise<JobSummary['error']> {
  try {
    await work(run);
    return null;
  } catch (thrown) {
    const error = asUmlsnapError(thrown);
    return { phase: run.phase, code: error.code, message: explainError(error) };
  }
}

/** Notes a job that was due and did not run, because somebody else worked on the guest. */
export async function recordSkipped(
  history: JobHistory,
  intent: JobIntent,
  reason: unknown,
): Promise<JobSummary> {
  const { run, start } = begin(intent);
  await history.startJob(start);
  const { code } = asUmlsnapError(reason);
  const error = { phase: 'preflight', code, message: explainError(reason) };
  run.log.ended('skipped', 0, error);
  const end: JobEnd = { status: 'skipped', finishedAt: start.startedAt, error, warnings: [], summary: {} };
  await history.finishJob(start.job, end, run.log.lines());
  const { job, kind, guest } = start;
  return { type: 'summary', job, kind, guest, status: 'skipped', warnings: [], error };
}

/** `20261121T031500Z-7f3a2c` */
function newJobName(startedAt: Date): string {
  return `${compactUtc(startedAt)}-${randomBytes(3).toString('hex')}`;
}

function ownerOfJob(): Pick<JobStart, 'pid' | 'pidStartTicks' | 'bootId'> {
  const { pid, startTicks } = ownIdentity();
  return { pid, pidStartTicks: startTicks, bootId: bootId() };
}
