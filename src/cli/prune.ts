import { prune } from '../../jobs/prune.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { type Context, configOf, guestOf } from './context.js';
import { printRows, reportSummary } from './output.js';
import { withStartedHouse } from './start.js';

interface Row {
  snapshot: string;
  verdict: 'keep' | 'remove';
  reason: string;
}

/** `umlsnap prune [GUEST]`: the keep rules by hand, with the reason for each snapshot. */
export async function pruneVerb(
  context: Context,
  guest: string | undefined,
  options: { dryRun?: boolean },
): Promise<ExitCode> {
  const config = await configOf(context);
  const guests = guest === undefined ? Object.values(config.guests) : [guestOf(config, guest)];
  return await withStartedHouse(config, async (house) => {
    let worst: ExitCode = exitCodes.done;
    for (const one of guests) {
      const { history, stateDirectory } = house;
      const summary = await prune(one, options.dryRun ?? false, {
        stateDirectory,
        history,
        store: house.store(one.store),
      });
      if (!context.output.json && !summary.error) printRows(context.output, rowsOf(summary), columns);
      const code = reportSummary(context.output, summary);
      if (code !== exitCodes.done) worst = code;
    }
    return worst;
  });
}

const columns = {
  snapshot: (row: Row) => row.snapshot,
  verdict: (row: Row) => row.verdict,
  reason: (row: Row) => row.reason,
};

function rowsOf(facts: Record<string, unknown>): Row[] {
  const kept = facts.kept as { snapshot: string; reasons: string[] }[];
  const removed = facts.removed as { snapshot: string; reason: string }[];
  return [
    ...kept.map(({ snapshot, reasons }): Row => ({ snapshot, verdict: 'keep', reason: reasons.join(', ') })),
    ...removed.map(({ snapshot, reason }): Row => ({ snapshot, verdict: 'remove', reason })),
  ].sort((a, b) => (a.snapshot < b.snapshot ? -1 : 1));
}
