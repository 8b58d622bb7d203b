import { planRemoval, type Removal, type RemoveRequest, remove } from '../../jobs/remove.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { printProgress, reportSummary, tell } from '../output.js';
import { withStartedApp } from '../start.js';
import { confirm } from './confirm.js';
import { type Context, configOf } from './context.js';
import { formatBytes } from './format.js';

/** `umlsnap remove NAME`: deletes a snapshot on purpose; asks on a terminal, and needs `--yes` elsewhere. */
export async function removeVerb(
  context: Context,
  name: string,
  options: { store?: string; yes?: boolean; force?: boolean },
): Promise<ExitCode> {
  const { store, yes = false, force = false } = options;
  const config = await configOf(context);
  return await withStartedApp(config, async (app) => {
    const request: RemoveRequest = { name, store, force };
    const removal = await planRemoval(app, request);
    if (!yes && !(await isMeant(removal))) {
      tell(context.output, 'Nothing was removed.');
      return exitCodes.done;
    }
    const summary = await remove(app, { ...request, name: removal.snapshot });
    const { removed, keptIn } = summary as typeof summary & {
      removed: { snapshot: string; store: string }[];
      keptIn: string[];
    };
    for (const one of removed) tell(context.output, `${one.snapshot} was removed from store ${one.store}.`);
    if (removed.length > 0 && keptIn.length > 0)
      tell(
        context.output,
        `It is still in ${keptIn.join(', ')}: the next backup may carry it from there again.`,
      );
    return reportSummary(context.output, summary);
  });
}

/** Shows what goes, and asks. @throws Usage where nobody can be asked */
async function isMeant({ snapshot, copies, keptIn, away }: Removal): Promise<boolean> {
  for (const { store, snapshot: name, storedBytes } of copies)
    printProgress(
      `${name} in store ${store}: ${storedBytes === null ? 'damaged' : formatBytes(storedBytes)}`,
      false,
    );
  if (keptIn.length > 0) printProgress(`It stays in ${keptIn.join(', ')}.`, false);
  for (const why of away) printProgress(why, false);
  return await confirm(`Remove ${snapshot} for good?`, {});
}
