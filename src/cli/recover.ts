import { recover } from '../../jobs/recover.js';
import { App } from '../compose.js';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { Recovered } from '../job/recover-at-start.js';
import { emit, tell, warn } from '../output.js';
import { withStartedHistoryIfAny } from '../start.js';
import { type Context, configOf } from './context.js';

/** `umlsnap recover`: resumes what we left paused, closes what was cut short. */
export async function recoverVerb(context: Context): Promise<ExitCode> {
  const config = await configOf(context);
  return await withStartedHistoryIfAny(config, async (history, recovered) => {
    const isUsable = !(history instanceof UmlsnapError);
    if (isUsable) await recover(new App(config, history), recovered);
    emit(context.output, { type: 'summary', kind: 'recover', ...recovered });
    tell(context.output, describe(recovered));
    for (const problem of recovered.problems) warn(`warning: ${problem}`);
    if (recovered.mayBePaused.length > 0) return exitCodes.guestMayBePaused;
    if (!isUsable) throw history;
    return recovered.problems.length > 0 ? exitCodes.warnings : exitCodes.done;
  });
}

function describe(recovered: Recovered): string {
  const parts = [
    ...recovered.resumed.map((guest) => `resumed guest ${guest}`),
    ...recovered.thawed.map((guest) => `thawed guest ${guest}`),
    ...recovered.closedJobs.map((job) => `closed job ${job}, which was cut short`),
    ...recovered.traceInstances.map((instance) => `ended the tracing ${instance} of a job that died`),
    ...recovered.discarded.map((copy) => `threw away the incoming copy ${copy}`),
    ...recovered.scratch.map((path) => `removed ${path}, which a process that died had left`),
    ...recovered.indexed.map((snapshot) => `recorded snapshot ${snapshot}, which the history did not know`),
    ...recovered.forgotten.map((snapshot) => `struck snapshot ${snapshot}, which is no longer in its store`),
  ];
  return parts.length === 0 ? 'Nothing to recover.' : parts.join('\n');
}
