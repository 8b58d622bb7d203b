import { findSnapshot, recordedRows, restoreSourceOf, whileReading } from '../../jobs/find-snapshot.js';
import type { JobSummary } from '../../jobs/recorded-job.js';
import { verify } from '../../jobs/verify.js';
import { allStores } from '../compose.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { type Context, configOf } from './context.js';
import { withInterrupt } from './interrupt.js';
import { reportSummary, tell } from './output.js';
import { withStartedHistoryIfAny } from './start.js';
import { throughDaemon } from './through-daemon.js';

/** `umlsnap verify NAME`: reads a snapshot again and checks it; by the daemon of this config if one runs. */
export async function verifyVerb(context: Context, name: string): Promise<ExitCode> {
  const config = await configOf(context);
  return await withInterrupt(async (signal) => {
    let exitCode: ExitCode = exitCodes.failed;
    const onSummary = (summary: JobSummary) => {
      if (!summary.error) tell(context.output, `${summary.snapshot} is as it was captured.`);
      exitCode = reportSummary(context.output, summary);
    };
    const request = { type: 'verify', text: name };
    if (await throughDaemon({ config, request, onSummary, signal })) return exitCode;
    await withStartedHistoryIfAny(config, async (history) => {
      const found = await findSnapshot(allStores(config), name, history);
      const source = restoreSourceOf(found, await recordedRows(history, found.stored.guest));
      onSummary(await whileReading(found, () => verify(source, history, signal)));
    });
    return exitCode;
  });
}
