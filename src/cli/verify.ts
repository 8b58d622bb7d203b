import { type VerifyDeps, verify } from '../../jobs/verify.js';
import { copyDeps } from '../compose.js';
import type { PassedOver } from '../copies/find-copy.js';
import { countText } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { VerificationRecord } from '../history/records.js';
import { requireKnownGuest } from '../job/known-guest.js';
import type { JobSummary } from '../job/recorded-job.js';
import { reportSummary, tell } from '../output.js';
import { withStartedHistoryIfAny } from '../start.js';
import type { VerifyProgress } from '../verify/verify-tally.js';
import type { VerifyScope } from '../verify/verify-targets.js';
import { type Context, configOf } from './context.js';
import { formatBytes } from './format.js';
import { withInterrupt } from './interrupt.js';
import { ProgressLine } from './progress-line.js';
import { throughDaemon } from './through-daemon.js';
import { describeFilesystem } from './verification.js';

/** `umlsnap verify [NAME]`: reads snapshots again and checks them; by the daemon of this config if one runs. */
export async function verifyVerb(
  context: Context,
  name: string | undefined,
  options: { guest?: string; store?: string; heal?: boolean },
): Promise<ExitCode> {
  if (name !== undefined && options.guest !== undefined)
    throw new UmlsnapError('Usage', { problem: 'Name a snapshot, or give --guest, not both.' });
  const { store } = options;
  if (name === undefined && store !== undefined)
    throw new UmlsnapError('Usage', { problem: '--store needs the name of a snapshot.' });
  const config = await configOf(context);
  const scope: VerifyScope =
    name === undefined
      ? { of: 'guest', guest: options.guest ?? null }
      : { of: 'snapshot', snapshot: name, store };
  return await withInterrupt(async (signal) => {
    let exitCode: ExitCode = exitCodes.failed;
    const line = new ProgressLine(context.output);
    const onProgress = (progress: VerifyProgress) => {
      line.show(progress);
      if (progress.verified) tell(context.output, describe(progress.verified));
    };
    const onSummary = (summary: JobSummary) => {
      if (name === undefined) tell(context.output, describeAll(summary));
      else tellPassedOver(context, summary);
      exitCode = reportSummary(context.output, summary);
    };
    const text = name ?? options.guest ?? '';
    const request = { type: 'verify', text, ...(store !== undefined && { options: { store } }) };
    const told = (progress: object) => onProgress(progress as VerifyProgress);
    // To heal is to write into stores: by their locks, beside a daemon.
    const isAlone = options.heal ?? false;
    if (!isAlone && (await throughDaemon({ config, request, onProgress: told, onSummary, signal })))
      return exitCode;
    await withStartedHistoryIfAny(config, async (history) => {
      const copies = copyDeps(config, history);
      const deps: VerifyDeps = { config, ...copies, history };
      if (options.guest !== undefined)
        await requireKnownGuest(options.guest, { config, stores: copies.stores, history });
      onSummary(
        await verify(scope, deps, { signal, onProgress, ...(isAlone && { heals: { ...copies, history } }) }),
      );
    });
    return exitCode;
  });
}

/** Of a named one: which copy it was, where that is not the first. */
function tellPassedOver({ output }: Context, summary: JobSummary): void {
  const { passedOver } = summary as JobSummary & { passedOver: PassedOver[] };
  for (const { store, why } of passedOver)
    tell(output, `Not looked at: the copy in store ${store}, which is ${why}.`);
}

function describe({ snapshot, store, result, problem, filesystems }: VerificationRecord): string {
  const where = `${snapshot} (store ${store})`;
  if (result !== 'ok') return `${where}: ${problem}`;
  const found = filesystems.map((filesystem) => `; ${describeFilesystem(filesystem)}`);
  return `${where} is as it was captured${found.join('')}.`;
}

function describeAll(summary: JobSummary): string {
  const { looked, ok, damaged, badFilesystem, notRead, skipped, readBytes } = summary as JobSummary &
    Record<string, number>;
  const counts = [
    `${ok} good`,
    ...(damaged ? [`${damaged} damaged`] : []),
    ...(badFilesystem ? [`${badFilesystem} with a bad filesystem`] : []),
    ...(notRead ? [`${notRead} could not be read`] : []),
    ...(skipped ? [`${skipped} removed meanwhile`] : []),
  ];
  return `${countText(looked ?? 0, 'snapshot')}, ${formatBytes(readBytes)} read: ${counts.join(', ')}.`;
}
