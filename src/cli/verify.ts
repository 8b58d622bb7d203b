import { findSnapshot, recordedRows, restoreSourceOf } from '../../jobs/find-snapshot.js';
import { verify } from '../../jobs/verify.js';
import { allStores } from '../compose.js';
import type { ExitCode } from '../exit-codes.js';
import { type Context, configOf } from './context.js';
import { withInterrupt } from './interrupt.js';
import { reportSummary, tell } from './output.js';
import { withStartedHistoryIfAny } from './start.js';

/** `umlsnap verify NAME`: reads a snapshot again and checks it. */
export async function verifyVerb(context: Context, name: string): Promise<ExitCode> {
  const config = await configOf(context);
  return await withInterrupt((signal) =>
    withStartedHistoryIfAny(config, async (history) => {
      const found = await findSnapshot(allStores(config), name, history);
      const source = restoreSourceOf(found, await recordedRows(history, found.stored.guest));
      const summary = await verify(source, history, signal);
      if (!summary.error) tell(context.output, `${source.manifest.snapshot} is as it was captured.`);
      return reportSummary(context.output, summary);
    }),
  );
}
