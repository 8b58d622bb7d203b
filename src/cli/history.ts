import { type ExitCode, exitCodes } from '../exit-codes.js';
import { whatFailedWhere } from '../history/records.js';
import { requireKnownGuest } from '../job/known-guest.js';
import { printLine, printRows } from '../output.js';
import { withStartedApp } from '../start.js';
import { type Context, configOf } from './context.js';
import { formatMs, formatTime } from './format.js';
import { limitOf } from './limit.js';

/** `umlsnap history [GUEST]`: jobs, newest first. Also of guests that the config no longer has. */
export async function historyVerb(
  context: Context,
  guest: string | undefined,
  options: { limit: string },
): Promise<ExitCode> {
  const limit = limitOf(options.limit);
  const config = await configOf(context);
  return await withStartedApp(config, async ({ history, stores }) => {
    const jobs = await history.jobs({ limit, ...(guest !== undefined && { guest }) });
    if (guest !== undefined && jobs.length === 0) await requireKnownGuest(guest, { config, history, stores });
    if (jobs.length === 0 && !context.output.json) {
      printLine('No jobs yet.');
      return exitCodes.done;
    }
    printRows(context.output, jobs, {
      job: (job) => job.job,
      kind: (job) => job.kind,
      guest: (job) => job.guest ?? '-',
      'started (local time)': (job) => formatTime(job.startedAt),
      took: (job) => formatMs(job.finishedAt ? Date.parse(job.finishedAt) - Date.parse(job.startedAt) : null),
      status: (job) => job.status,
      pause: (job) => formatMs(job.summary?.pausedMs as number | null | undefined),
      result: (job) => resultOf(job.error, job.summary),
    });
    return exitCodes.done;
  });
}

function resultOf(
  error: { phase: string; code: string } | null,
  summary: Record<string, unknown> | null,
): string {
  if (error) return whatFailedWhere(error);
  return typeof summary?.snapshot === 'string' ? summary.snapshot : '';
}
