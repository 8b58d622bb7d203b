import { backup } from '../../jobs/backup.js';
import type { JobSummary } from '../../jobs/recorded-job.js';
import type { CaptureChoice, GuestConfig } from '../config/config.js';
import { parseDuration } from '../config/duration.js';
import { UmlsnapError } from '../errors.js';
import type { ExitCode } from '../exit-codes.js';
import type { Phase } from '../snapshot/phase-journal.js';
import { type Context, configOf, guestOf } from './context.js';
import { formatBytes, formatMs } from './format.js';
import { withInterrupt } from './interrupt.js';
import { emit, reportSummary, tell } from './output.js';
import { withStartedHouse } from './start.js';

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

/** `umlsnap snapshot GUEST`: one backup now. */
export async function snapshotVerb(
  context: Context,
  guest: string,
  options: SnapshotOptions,
): Promise<ExitCode> {
  const config = await configOf(context);
  const guestConfig = withOptions(guestOf(config, guest), options);
  return await withInterrupt((signal) =>
    withStartedHouse(config, async (house) => {
      const store = house.store(guestConfig.store);
      const summary = await backup(
        {
          config: guestConfig,
          trigger: 'manual',
          labels: { ...guestConfig.labels, ...parseLabels(options.label ?? []) },
          pinned: options.pin ?? false,
          dryRun: options.dryRun ?? false,
          wait: options.wait ?? false,
          signal,
          onPhase: (phase) => showPhase(context, guest, phase),
        },
        { stateDirectory: house.stateDirectory, store, history: house.history },
      );
      if (!summary.error) tell(context.output, describe(summary));
      return reportSummary(context.output, summary);
    }),
  );
}

/** The guest's config with what the command line changes in it. @throws Usage */
function withOptions(config: GuestConfig, options: SnapshotOptions): GuestConfig {
  const changed = { ...config };
  if (options.budget !== undefined) changed.pauseBudgetMs = durationOf('--budget', options.budget);
  if (options.require !== undefined)
    changed.require = oneOf('--require', options.require, ['synced', 'crash']);
  if (options.capture !== undefined) {
    changed.capture = oneOf<CaptureChoice>('--capture', options.capture, ['auto', 'reflink', 'copy']);
  }
  if (options.store !== undefined) changed.store = options.store;
  return changed;
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

/** A terminal can block whoever writes to it: nothing is written in the phases of the pause. */
const silentPhases: Phase[] = ['stop', 'sync', 'capture', 'go'];

function showPhase({ output }: Context, guest: string, phase: Phase): void {
  if (silentPhases.includes(phase)) return;
  emit(output, { type: 'progress', guest, phase });
  if (process.stderr.isTTY && !output.json && !output.quiet) process.stderr.write(`${guest}: ${phase}\n`);
}

function describe(summary: JobSummary): string {
  const of = summary as JobSummary & Record<string, never>;
  if (of.dryRun) {
    const pause = of.predictedPauseMs === null ? 'milliseconds' : `about ${formatMs(of.predictedPauseMs)}`;
    return `${summary.guest}: ready. Would capture ${formatBytes(of.dataBytes)} by ${of.method} (${of.reason}), for a pause of ${pause}.`;
  }
  const sizes = `${formatBytes(of.sizeBytes)}, ${formatBytes(of.storedBytes)} stored`;
  const pause = `pause ${formatMs(of.pausedMs)} of ${formatMs(of.budgetMs)}`;
  return `${of.snapshot}  ${of.consistency}  ${of.method}  ${pause}  ${sizes}`;
}
