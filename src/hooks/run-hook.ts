import { childEnvironment } from '../child-environment.js';
import type { HooksConfig } from '../config/alert-config.js';
import { isError, UmlsnapError } from '../errors.js';
import { runCommand } from '../run-command.js';

export type HookName = 'before' | 'after' | 'failed';

/** What a hook is told, by its environment. */
export interface HookFacts {
  guest: string;
  job: string;
  phase: string;
  snapshot?: string | null | undefined;
  pausedMs?: number | null | undefined;
  error?: { code: string; message: string };
}

const maxOutputBytes = 64 * 1024;

/**
 * Runs the host's own program for this moment of a job, if the config has one: by its arguments, without a shell, with what
 * programs of the config get and what it is told. Never while a guest is paused.
 * @throws HookFailed, or the signal's reason
 */
export async function runHook(
  name: HookName,
  hooks: HooksConfig,
  facts: HookFacts,
  options: { signal?: AbortSignal; limitMs?: number } = {},
): Promise<void> {
  const argv = hooks[name];
  if (argv === null) return;
  const timeoutMs = Math.min(hooks.timeoutMs, options.limitMs ?? Number.POSITIVE_INFINITY);
  try {
    const env = childEnvironment(environmentOf(name, facts), true);
    await runCommand(argv, { ...options, timeoutMs, env, maxOutputBytes });
  } catch (error) {
    if (!isError(error, 'CommandFailed')) throw error;
    const { command, exitCode, problem } = error.facts;
    const what = exitCode === null ? problem : `exit ${exitCode}: ${problem}`;
    throw new UmlsnapError('HookFailed', { guest: facts.guest, hook: name, command, problem: what }, error);
  }
}

/** `UMLSNAP_GUEST=debian` and so on; what is not known is not there. */
export function environmentOf(name: HookName, facts: HookFacts): Record<string, string> {
  const { guest, job, phase, snapshot, pausedMs, error } = facts;
  return {
    UMLSNAP_HOOK: name,
    UMLSNAP_GUEST: guest,
    UMLSNAP_JOB: job,
    UMLSNAP_PHASE: phase,
    ...(snapshot && { UMLSNAP_SNAPSHOT: snapshot }),
    ...(typeof pausedMs === 'number' && { UMLSNAP_PAUSED_MS: String(pausedMs) }),
    ...(error && { UMLSNAP_ERROR_CODE: error.code, UMLSNAP_ERROR: error.message }),
  };
}
