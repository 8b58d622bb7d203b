import { drillFound, findDrilled } from '../../jobs/drill.js';
import { copyDeps } from '../compose.js';
import type { PassedOver } from '../copies/find-copy.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { JobSummary } from '../job/recorded-job.js';
import { reportSummary, tell } from '../output.js';
import { withStartedHistoryIfAny } from '../start.js';
import { type Context, configOf } from './context.js';
import { copyText } from './copies.js';
import { formatMs } from './format.js';
import { withInterrupt } from './interrupt.js';
import { throughDaemon } from './through-daemon.js';

/** `umlsnap drill NAME`: boots a snapshot to prove that it can be booted; by the daemon of this config if one runs. */
export async function drillVerb(
  context: Context,
  name: string,
  options: { wait?: boolean; store?: string },
): Promise<ExitCode> {
  const config = await configOf(context);
  return await withInterrupt(async (signal) => {
    let exitCode: ExitCode = exitCodes.failed;
    const onSummary = (summary: JobSummary) => {
      tellSteps(context, summary);
      exitCode = reportSummary(context.output, summary);
    };
    const { store } = options;
    const request = { type: 'drill', text: name, ...(store !== undefined && { options: { store } }) };
    if (await throughDaemon({ config, request, onSummary, signal })) return exitCode;
    await withStartedHistoryIfAny(config, async (history) => {
      const found = await findDrilled(copyDeps(config, history), { name, store });
      const order = { wait: options.wait ?? false, signal };
      onSummary(await drillFound(found, { config: config.drill, history }, order));
    });
    return exitCode;
  });
}

export interface DrillStepFact {
  step: string;
  tookMs: number;
  outcome: string;
}

function tellSteps({ output }: Context, summary: JobSummary): void {
  tell(
    output,
    copyText(summary as JobSummary & { snapshot: string; store: string; passedOver: PassedOver[] }),
  );
  const steps = summary.steps as DrillStepFact[];
  const told = steps.map(
    ({ step, tookMs, outcome }) => `${step} ${formatMs(tookMs)}${outcome === 'done' ? '' : ', in vain'}`,
  );
  if (told.length > 0) tell(output, told.join('; '));
  if (summary.drill === 'failed') for (const line of summary.console as string[]) tell(output, `| ${line}`);
  if (!summary.error) tell(output, `${summary.snapshot} was booted and lives.`);
}
