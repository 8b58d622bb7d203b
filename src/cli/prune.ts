import { everyStoreOf } from '../../jobs/guest-stores.js';
import { prune } from '../../jobs/prune.js';
import type { JobSummary } from '../../jobs/recorded-job.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { type Context, configOf, guestOf } from './context.js';
import { printRows, reportSummary } from './output.js';
import { withStartedHouse } from './start.js';
import { throughDaemon } from './through-daemon.js';

interface Row {
  snapshot: string;
  store: string;
  verdict: 'keep' | 'remove';
  reason: string;
}

/** `umlsnap prune [GUEST]`: the keep rules by hand, with the reason for each; by the daemon of this config if one runs. */
export async function pruneVerb(
  context: Context,
  guest: string | undefined,
  options: { dryRun?: boolean },
): Promise<ExitCode> {
  const config = await configOf(context);
  const guests = guest === undefined ? Object.values(config.guests) : [guestOf(config, guest)];
  const dryRun = options.dryRun ?? false;
  let worst: ExitCode = exitCodes.done;
  const onSummary = (summary: JobSummary) => {
    if (!context.output.json && !summary.error) printRows(context.output, rowsOf(summary), columns);
    const code = reportSummary(context.output, summary);
    if (code !== exitCodes.done) worst = code;
  };
  const request = { type: 'prune', text: guest ?? '', options: { dryRun } };
  if (await throughDaemon({ config, request, onSummary })) return worst;
  await withStartedHouse(config, async (house) => {
    const { history, stateDirectory } = house;
    for (const one of guests) {
      const stores = everyStoreOf(house.storesOf(one));
      onSummary(await prune(one, dryRun, { stateDirectory, history, stores }));
    }
  });
  return worst;
}

const columns = {
  snapshot: (row: Row) => row.snapshot,
  store: (row: Row) => row.store,
  verdict: (row: Row) => row.verdict,
  reason: (row: Row) => row.reason,
};

function rowsOf(facts: Record<string, unknown>): Row[] {
  const kept = facts.kept as { snapshot: string; store: string; reasons: string[] }[];
  const removed = facts.removed as { snapshot: string; store: string; reason: string }[];
  return [
    ...kept.map(({ reasons, ...one }): Row => ({ ...one, verdict: 'keep', reason: reasons.join(', ') })),
    ...removed.map((one): Row => ({ ...one, verdict: 'remove' })),
  ].sort((a, b) => (`${a.store} ${a.snapshot}` < `${b.store} ${b.snapshot}` ? -1 : 1));
}
