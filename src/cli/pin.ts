import { pin } from '../../jobs/pin.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { emit, tell, warn } from '../output.js';
import { withStartedApp } from '../start.js';
import { type Context, configOf } from './context.js';

/** `umlsnap pin NAME` and `unpin NAME`: a pinned snapshot is never removed by rule, from whichever store. */
export async function pinVerb(context: Context, name: string, pinned: boolean): Promise<ExitCode> {
  const config = await configOf(context);
  return await withStartedApp(config, async (app) => {
    const { snapshot, stores, problems } = await pin(name, pinned, app);
    emit(context.output, {
      ...{ type: 'summary', kind: pinned ? 'pin' : 'unpin', snapshot, pinned, stores, warnings: problems },
    });
    tell(context.output, `${snapshot} is ${pinned ? 'pinned: no rule removes it' : 'not pinned any more'}.`);
    for (const problem of problems) warn(`warning: ${problem}`);
    return problems.length > 0 ? exitCodes.warnings : exitCodes.done;
  });
}
