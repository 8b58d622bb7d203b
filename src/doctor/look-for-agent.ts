import type { GuestConfig } from '../config/config.js';
import { type NotFrozenCause, UmlsnapError } from '../errors.js';
import { withAgent } from '../guest/agent/with-agent.js';
import { withGuest } from '../guest/guest.js';
import { holderOf } from '../locks/exclusive-lock.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { leaseLock } from '../pause/lease.js';

export interface AgentLook {
  config: GuestConfig;
  stateDirectory: string;
  /** Of the guest's main process. */
  pid: number;
  /** Whoever listens to this guest already. */
  source: NotificationSource | null;
}

/** An agent answers in milliseconds; what does not is none to people who look. */
const patienceMs = 1500;

/** An agent that answers (`ready`), or why none does; `notAsked`: it can't be known now. */
export interface AgentNow {
  cause: 'ready' | 'notAsked' | NotFrozenCause;
  detail: string;
}

/** Whether an agent answers in a guest that runs; null where that can't be known now. */
export async function lookForAgent(look: AgentLook): Promise<boolean | null> {
  const { cause } = await findAgentNow(look);
  if (cause === 'ready') return true;
  return ['noAgent', 'notBootedWithNotify', 'agentTooNew'].includes(cause) ? false : null;
}

/**
 * The agent of a guest that runs, or why there is none. A guest that somebody works on is not asked: it may be stopped at any
 * moment, and MUST NOT be sent anything then but what its pause needs (design §2).
 */
export async function findAgentNow({ config, stateDirectory, pid, source }: AgentLook): Promise<AgentNow> {
  const notAsked: AgentNow = { cause: 'notAsked', detail: '' };
  const mayAsk = async () => (await holderOf(leaseLock(stateDirectory, config.name))) === undefined;
  if (!(await mayAsk())) return notAsked;
  try {
    return await withGuest(config, (guest) => {
      const holder = `umlsnap (pid ${process.pid})`;
      const signal = AbortSignal.timeout(2 * patienceMs);
      const search = { guest, pid, stateDirectory, holder, patienceMs, socketPatienceMs: 0, mayAsk, signal };
      return withAgent<AgentNow>(search, source, async ({ agent, missing }) =>
        agent ? { cause: 'ready', detail: '' } : missing,
      );
    });
  } catch (error) {
    if (error instanceof UmlsnapError || (error as Error).name === 'TimeoutError') return notAsked;
    throw error;
  }
}
