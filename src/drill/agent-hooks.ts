import { setTimeout as sleep } from 'node:timers/promises';
import { explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { AgentExchange } from '../guest/agent/agent-exchange.js';
import type { FailedHook } from '../guest/agent/agent-messages.js';
import { log } from '../mconsole/commands.js';
import type { MconsoleClient } from '../mconsole/mconsole-client.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import type { GuestFailure } from './guest-failure.js';

const pingLimitMs = 2000;
const pingAgainMs = 500;

/**
 * Has the agent in the guest run the hooks that are there for a drill. It may still be on its way up: it is called until the time is up.
 * @returns what went wrong; null when there are hooks, and all of them have succeeded
 * @throws the signal's reason
 */
export async function runDrillHooks(
  client: MconsoleClient,
  notifications: NotificationSource,
  limitMs: number,
  signal: AbortSignal,
): Promise<GuestFailure | null> {
  try {
    return await askForHooks(client, notifications, limitMs, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof UmlsnapError)) throw error;
    return { failure: 'agentSilent', detail: explainError(error) };
  }
}

async function askForHooks(
  client: MconsoleClient,
  notifications: NotificationSource,
  limitMs: number,
  signal: AbortSignal,
): Promise<GuestFailure | null> {
  const deadlineMs = performance.now() + limitMs;
  const console = { log: (line: string, timeoutMs: number) => log(client, line, { timeoutMs, signal }) };
  const exchange = new AgentExchange(console, notifications);
  const run = await findAgent(exchange, deadlineMs, signal);
  const within = `within ${Math.round(limitMs / 1000)} s`;
  if (run === null) return { failure: 'agentSilent', detail: `none answered ${within}` };
  const outcome = await exchange.drill(run, Math.max(1000, deadlineMs - performance.now()), signal);
  if ('failed' in outcome) return { failure: 'hookFailed', detail: describe(outcome.failed) };
  if ('silentForMs' in outcome) return { failure: 'agentSilent', detail: `they did not end ${within}` };
  if (outcome.ran > 0) return null;
  return { failure: 'agentSilent', detail: 'there is none in its /etc/umlsnap/drill.d' };
}

/** Which run of the agent answers; null when none does. */
async function findAgent(
  exchange: AgentExchange,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<string | null> {
  while (performance.now() < deadlineMs) {
    const ping = await exchange.ping(pingLimitMs, signal);
    if (ping.agent === 'ready') return ping.run;
    if (ping.agent === 'tooNew') return null;
    await sleep(pingAgainMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
  return null;
}

function describe({ hook, exit, text }: FailedHook): string {
  const how = exit === 'late' ? 'took too long, and was killed' : `failed with ${exit}`;
  return text === '' ? `${hook} ${how}` : `${hook} ${how}: ${text}`;
}
