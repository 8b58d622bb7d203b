import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { explainError } from '../../error-text.js';
import { isError, type NotFrozenCause, type UmlsnapError } from '../../errors.js';
import { listenerLock, type NotificationSource, NotifyListener } from '../../mconsole/notify-listener.js';
import type { Guest } from '../guest.js';
import { notifyOwnerOf } from '../guest-user.js';
import { AgentExchange } from './agent-exchange.js';

/** An agent that has answered. */
export interface ReadyAgent {
  exchange: AgentExchange;
  /** Which run of it has answered: it obeys no order for another one. */
  run: string;
}

/** The agent in a guest, or why there is none to work with. */
export type FoundAgent =
  | { agent: ReadyAgent; missing: null }
  | { agent: null; missing: { cause: NotFrozenCause; detail: string } };

export interface AgentSearch {
  guest: Guest;
  /** Of the guest's main process. */
  pid: number;
  stateDirectory: string;
  /** Who we are, for whoever wants to listen as well. */
  holder: string;
  /** How long the agent may take to answer. */
  patienceMs?: number;
  /** How long somebody else may go on listening in our place. */
  socketPatienceMs?: number;
  /** Asked right before the agent is: the guest may have been stopped since. */
  mayAsk?(): Promise<boolean>;
  signal: AbortSignal;
}

const defaultPatienceMs = 5000;
/** Whoever looks at a guest, as `status` does, listens for less than two seconds: that MUST NOT cost a snapshot its freeze. */
const defaultSocketPatienceMs = 3000;
const socketPollMs = 50;

/**
 * Runs `use` with the agent of a guest, if it has one that answers, and with whoever hears the guest.
 * @param listener somebody who listens to this guest already; with null, we do while `use` runs if there may be an agent
 */
export async function withAgent<T>(
  search: AgentSearch,
  listener: NotificationSource | null,
  use: (found: FoundAgent, source: NotificationSource | null) => Promise<T>,
): Promise<T> {
  const { guest, holder, pid, stateDirectory } = search;
  const unfit = await whyNotAsked(guest);
  if (unfit) return await use({ agent: null, missing: unfit }, listener);
  if (listener) return await use(await findAgent(search, listener), listener);
  let isListening = false;
  for (const startedMs = performance.now(); ; ) {
    try {
      const guestUid = notifyOwnerOf(guest.config) ?? statSync(`/proc/${pid}`).uid;
      const socketPath = guest.config.notify;
      const lock = listenerLock(stateDirectory, socketPath);
      const options = { socketPath, lock, holder, guestUid };
      return await NotifyListener.listenWhile(options, async (own) => {
        isListening = true;
        return await use(await findAgent(search, own), own);
      });
    } catch (error) {
      if (isListening || !isSocketFailure(error)) throw error;
      const isLate = performance.now() - startedMs >= (search.socketPatienceMs ?? defaultSocketPatienceMs);
      if (isError(error, 'Busy') && !isLate) {
        await sleep(socketPollMs, undefined, { signal: search.signal });
        continue;
      }
      const missing = { cause: 'socketUnusable' as const, detail: explainError(error) };
      return await use({ agent: null, missing }, null);
    }
  }
}

function isSocketFailure(error: unknown): error is UmlsnapError {
  return isError(error, 'Busy') || isError(error, 'NotifyUnusable') || isError(error, 'SocketPathTooLong');
}

/** What can be known without asking: an agent that has no way to answer would only be waited for. */
async function whyNotAsked(guest: Guest): Promise<{ cause: NotFrozenCause; detail: string } | null> {
  const { agent, notify } = guest.config;
  if (agent === 'off') return { cause: 'off', detail: '' };
  const paths = notifyPathsOf(await commandLineOf(guest));
  const [path] = paths.slice(-1);
  if (path === undefined) return { cause: 'notBootedWithNotify', detail: notify };
  // A relative one is relative to wherever the guest was started, and may be ours.
  if (path.startsWith('/') && path !== notify) return { cause: 'notifiesElsewhere', detail: path };
  return null;
}

/** A guest that won't tell can't be known to have an agent. */
async function commandLineOf(guest: Guest): Promise<string> {
  try {
    return await guest.commandLine();
  } catch (error) {
    if (isError(error, 'CommandRefused')) return '';
    throw error;
  }
}

/** The guest's own word, so only a hint. */
function notifyPathsOf(commandLine: string): string[] {
  return [...commandLine.matchAll(/(?:^|\s)mconsole=notify:(\S+)/g)].map(([, path = '']) => path);
}

async function findAgent(
  { guest, signal, patienceMs, mayAsk }: AgentSearch,
  source: NotificationSource,
): Promise<FoundAgent> {
  if (mayAsk && !(await mayAsk())) return { agent: null, missing: { cause: 'off', detail: '' } };
  return await askAgent(new AgentExchange(guest, source), signal, patienceMs);
}

/** Whether an agent answers, and which run of it. */
export async function askAgent(
  exchange: AgentExchange,
  signal: AbortSignal,
  patienceMs = defaultPatienceMs,
): Promise<FoundAgent> {
  const ping = await exchange.ping(patienceMs, signal);
  if (ping.agent === 'ready') return { agent: { exchange, run: ping.run }, missing: null };
  if (ping.agent === 'tooNew') return { agent: null, missing: { cause: 'agentTooNew', detail: '' } };
  return { agent: null, missing: { cause: 'noAgent', detail: `${ping.waitedMs} ms` } };
}
