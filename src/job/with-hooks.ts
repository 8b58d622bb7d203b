import type { GuestConfig } from '../config/config.js';
import { formatMs } from '../config/format-figure.js';
import { asUmlsnapError, explainError } from '../error-text.js';
import { type HookFacts, type HookName, runHook } from '../hooks/run-hook.js';
import type { JobRun } from './recorded-job.js';

/** Whoever ends a daemon does not wait long for it. */
const limitWhenInterruptedMs = 10_000;

/**
 * Runs a job's work between the host's own programs: `before` it, where a failure is one of the job, whose guest was not touched
 * then; `after` it, or `failed` where anything failed, `before` included. What comes of the last two is a warning: the
 * snapshot is what it is. All of them run outside the sequence, so never between stop and go.
 */
export async function withHooks(
  { hooks, name: guest }: Pick<GuestConfig, 'hooks' | 'name'>,
  run: JobRun,
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  const factsOf = (): HookFacts => {
    const { snapshot, pausedMs } = run.facts as Pick<HookFacts, 'snapshot' | 'pausedMs'>;
    return { guest, job: run.job, phase: run.phase, snapshot, pausedMs };
  };
  const runLogged = async (
    name: HookName,
    facts: HookFacts,
    options: { signal?: AbortSignal; limitMs?: number },
  ) => {
    const startedMs = performance.now();
    await runHook(name, hooks, facts, options);
    if (hooks[name]) run.log.info(`hook ${name}: done after ${formatMs(performance.now() - startedMs)}`);
  };
  const orWarn = async (name: HookName, facts: HookFacts, limitMs?: number) => {
    try {
      await runLogged(name, facts, limitMs === undefined ? {} : { limitMs });
    } catch (error) {
      run.warnings.push(explainError(error));
      run.log.warnings(run.warnings);
    }
  };
  try {
    await runLogged('before', { ...factsOf(), phase: 'before' }, { signal });
    await work();
  } catch (thrown) {
    const { code } = asUmlsnapError(thrown);
    const facts = { ...factsOf(), error: { code, message: explainError(thrown) } };
    await orWarn('failed', facts, signal.aborted ? limitWhenInterruptedMs : undefined);
    throw thrown;
  }
  await orWarn('after', factsOf());
}
