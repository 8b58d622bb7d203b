import { prune } from '../../jobs/prune.js';
import { everyStoreOf } from '../copies/guest-stores.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { JobSummary } from '../job/recorded-job.js';
import { printRows, reportSummary, tell } from '../output.js';
import { withStartedApp } from '../start.js';
import type { BackingSweep } from '../store/unneeded-backings.js';
import { type Context, configOf, guestOf } from './context.js';
import { throughDaemon } from './through-daemon.js';

/** A line of `umlsnap prune`: what becomes of a snapshot, and why. */
interface Row {
  type: 'verdict';
  snapshot: string;
  store: string;
  verdict: 'keep' | 'remove';
  reasons: string[];
}

/** `umlsnap prune [GUEST]`: the keep rules by hand, with the reason for each; by the daemon of this config if one runs. */
export async function pruneVerb(
  context: Context,
  guest: string | undefined,
  options: { dryRun?: boolean; clockIsRight?: boolean },
): Promise<ExitCode> {
  const config = await configOf(context);
  const guests = guest === undefined ? Object.values(config.guests) : [guestOf(config, guest)];
  const { dryRun = false, clockIsRight = false } = options;
  let worst: ExitCode = exitCodes.done;
  const onSummary = (summary: JobSummary) => {
    if (!summary.error) {
      printRows(context.output, rowsOf(summary), columns);
      tellBackings(context, summary, dryRun);
    }
    const code = reportSummary(context.output, summary);
    if (code !== exitCodes.done) worst = code;
  };
  const given = { dryRun, ...(clockIsRight && { clockIsRight }) };
  const request = { type: 'prune', text: guest ?? '', options: given };
  if (await throughDaemon({ config, request, onSummary })) return worst;
  await withStartedApp(config, async (app) => {
    const { history, stateDirectory } = app;
    for (const one of guests) {
      const stores = everyStoreOf(app.storesOf(one));
      onSummary(await prune(one, { dryRun, clockIsRight }, { stateDirectory, history, stores }));
    }
  });
  return worst;
}

function tellBackings({ output }: Context, facts: Record<string, unknown>, dryRun: boolean): void {
  for (const { store, removed, held } of facts.backings as (BackingSweep & { store: string })[]) {
    if (held !== null) tell(output, `Backing files in store ${store} stay for now: ${held}.`);
    for (const file of removed) {
      const fate = dryRun ? 'it goes' : 'removed';
      tell(output, `Backing file ${file} in store ${store}: no snapshot needs it, ${fate}.`);
    }
  }
}

const columns = {
  snapshot: (row: Row) => row.snapshot,
  store: (row: Row) => row.store,
  verdict: (row: Row) => row.verdict,
  reason: (row: Row) => row.reasons.join(', '),
};

function rowsOf(facts: Record<string, unknown>): Row[] {
  const kept = facts.kept as { snapshot: string; store: string; reasons: string[] }[];
  const removed = facts.removed as { snapshot: string; store: string; reason: string }[];
  return [
    ...kept.map((one): Row => ({ type: 'verdict', ...one, verdict: 'keep' })),
    ...removed.map(
      ({ reason, ...one }): Row => ({ type: 'verdict', ...one, verdict: 'remove', reasons: [reason] }),
    ),
  ].sort((a, b) => (`${a.store} ${a.snapshot}` < `${b.store} ${b.snapshot}` ? -1 : 1));
}
