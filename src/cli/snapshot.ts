import { backup } from '../../jobs/backup.js';
import type { CaptureChoice } from '../config/config.js';
import { parseDuration } from '../config/duration.js';
import type { SnapshotOptions as RequestedOptions } from '../control/request.js';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { type ExpectedLevel, levelText } from '../history/levels.js';
import type { Consistency } from '../history/records.js';
import { type BackupProgress, ProgressReporter } from '../job/backup-progress.js';
import type { JobSummary } from '../job/recorded-job.js';
import { withSnapshotOptions } from '../job/with-snapshot-options.js';
import { reportSummary, tell } from '../output.js';
import { withStartedApp } from '../start.js';
import { type Context, configOf, guestOf } from './context.js';
import { formatBytes, formatMs } from './format.js';
import { withInterrupt } from './interrupt.js';
import { ProgressLine } from './progress-line.js';
import { throughDaemon } from './through-daemon.js';

export interface SnapshotOptions {
  budget?: string;
  require?: string;
  capture?: string;
  store?: string;
  label?: string[];
  pin?: boolean;
  dryRun?: boolean;
  wait?: boolean;
}

/** `umlsnap snapshot GUEST`: one backup now, by the daemon of this config if one runs. */
export async function snapshotVerb(
  context: Context,
  guest: string,
  options: SnapshotOptions,
): Promise<ExitCode> {
  const config = await configOf(context);
  const wanted = parseOptions(options);
  const order = withSnapshotOptions(guestOf(config, guest), wanted);
  return await withInterrupt(async (signal) => {
    let exitCode: ExitCode = exitCodes.failed;
    const line = new ProgressLine(context.output);
    const onProgress = (progress: object) => line.show(progress as BackupProgress);
    const onSummary = (summary: JobSummary) => {
      if (!summary.error) for (const line of describe(summary)) tell(context.output, line);
      exitCode = reportSummary(context.output, summary);
    };
    const request = { type: 'snapshot', text: guest, options: wanted };
    if (await throughDaemon({ config, request, onProgress, onSummary, signal })) return exitCode;
    await withStartedApp(config, async (app) => {
      const stores = app.storesOf(order.config);
      const reporter = new ProgressReporter(guest, onProgress);
      const { onPhase, onFill } = reporter;
      const told = { onPhase, onFill, onProgress: reporter.onProgress };
      const { stateDirectory, history } = app;
      const backupOrder = { ...order, ...told, trigger: 'manual' as const, signal };
      onSummary(await backup(backupOrder, { stateDirectory, stores, history }));
    });
    return exitCode;
  });
}

/** What the command line changes of the config. @throws Usage */
function parseOptions(options: SnapshotOptions): RequestedOptions {
  const { budget, require, capture, store, label, pin, dryRun, wait } = options;
  return {
    ...(budget !== undefined && { budgetMs: durationOf('--budget', budget) }),
    ...(require !== undefined && { require: oneOf('--require', require, ['frozen', 'synced', 'crash']) }),
    ...(capture !== undefined && {
      capture: oneOf<CaptureChoice>('--capture', capture, ['auto', 'reflink', 'precopy', 'copy']),
    }),
    ...(store !== undefined && { store }),
    labels: parseLabels(label ?? []),
    pinned: pin ?? false,
    dryRun: dryRun ?? false,
    wait: wait ?? false,
  };
}

function durationOf(option: string, text: string): number {
  const durationMs = parseDuration(text);
  if (durationMs !== null && durationMs > 0 && durationMs <= longestBudgetMs) return durationMs;
  throw new UmlsnapError('Usage', {
    problem: `${option} ${text}: not a duration of at most a day. Write 50ms, 5s, 1m.`,
  });
}

/** As in the config. */
const longestBudgetMs = 24 * 60 * 60 * 1000;

function oneOf<T extends string>(option: string, text: string, known: T[]): T {
  const found = known.find((value) => value === text);
  if (found !== undefined) return found;
  throw new UmlsnapError('Usage', { problem: `${option} ${text}: choose one of ${known.join(', ')}.` });
}

function parseLabels(labels: string[]): Record<string, string> {
  return Object.fromEntries(
    labels.map((label) => {
      const [, key, value] = /^([A-Za-z0-9][A-Za-z0-9._-]{0,62})=([^\p{Cc}]{0,200})$/u.exec(label) ?? [];
      if (key !== undefined && value !== undefined) return [key, value];
      throw new UmlsnapError('Usage', { problem: `--label ${label}: write KEY=VALUE.` });
    }),
  );
}

function describe(summary: JobSummary): string[] {
  const of = summary as JobSummary & Record<string, never>;
  if (of.dryRun) {
    const pause = of.predictedPauseMs === null ? 'milliseconds' : `about ${formatMs(of.predictedPauseMs)}`;
    const ready = `${summary.guest}: ready. Would capture ${formatBytes(of.dataBytes)} by ${of.method} (${of.reason}), for a pause of ${pause}.`;
    const expected = (summary.expected as ExpectedLevel | null)?.text;
    return expected === undefined ? [ready] : [ready, expected];
  }
  const sizes = `${formatBytes(of.sizeBytes)}, ${formatBytes(of.storedBytes)} stored`;
  const pause = `pause ${formatMs(of.pausedMs)} of ${formatMs(of.budgetMs)}`;
  const method = of.tracker === null ? of.method : `${of.method} (${of.tracker})`;
  const level = levelText(summary.consistency as Consistency, Number(summary.dirtyKib));
  const taken = `${of.snapshot}  ${level}  ${method}  ${pause}  ${sizes}`;
  return typeof summary.note === 'string' ? [taken, summary.note] : [taken];
}
