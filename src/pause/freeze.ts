import { explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import {
  type AfterThaw,
  type AgentExchange,
  type FreezeOutcome,
  newNonce,
} from '../guest/agent/agent-exchange.js';
import { isAlive, ownIdentity, type ProcessIdentity } from '../process-identity.js';
import { dropFreezeLease, writeFreezeLease } from './freeze-lease.js';

/** What freezing needs of a guest, beside its agent. */
export interface FreezableGuest {
  readonly name: string;
  readonly socketPath: string;
  /** Thaws what is frozen by the guest's kernel alone, and returns what it said to that. */
  emergencyThaw(): Promise<string>;
}

export interface FreezeRequest {
  guest: FreezableGuest;
  main: ProcessIdentity;
  exchange: AgentExchange;
  /** The run of the agent that answered our ping. */
  run: string;
  job: string;
  leaseFile: string;
  /** How long hooks, sync and freeze may take. */
  limitMs: number;
  /** After this the guest ends the freeze by itself. */
  timerMs: number;
  /** What may pass between the lease and the freeze: getting a guest ready that writes, on a host that is busy. */
  beginsWithinMs: number;
  signal: AbortSignal;
}

/** How a freeze ended. */
export type FreezeEnd =
  /** It was never begun, or the agent has refused it and undone its part. */
  | { ended: 'notFrozen' }
  /** By the agent, and every filesystem was frozen until then. */
  | { ended: 'held' }
  /** Something else ended it before we did: what was captured need not have been frozen. */
  | { ended: 'early' }
  /** By the kernel: the agent did not answer any more. */
  | { ended: 'byKernel' }
  | { ended: 'guestGone' }
  /** Neither answered. The guest's own timer will end it. */
  | { ended: 'unknown'; problem: string };

/** A freeze that may be begun once, and is ended on every way out. */
export interface Freeze {
  /** @throws what a request to a console throws, and the signal's reason */
  begin(): Promise<FreezeOutcome>;
  /** Ends it; the first call does, the others only tell. Throws nothing. */
  end(): Promise<FreezeEnd>;
  /** From the agent's word that all is frozen to that all is thawed; null when one of them is missing. */
  frozenMs(): number | null;
  /** Of the hooks after the thaw, if the agent has run them. */
  afterThaw(): AfterThaw | null;
  /** Ends it, and drops its lease. Throws nothing but StateUnusable. */
  close(): Promise<void>;
}

/** How long the agent may take to thaw before the kernel is asked to do it. */
const thawPatienceMs = 5000;

/**
 * A freeze that may be begun, and has to be closed. The lease MUST be durable before, and stays for `recover` if the guest can't
 * be proven thawed afterwards.
 * @throws StateUnusable
 */
export async function openFreeze(request: FreezeRequest): Promise<Freeze> {
  const { guest, job, main, run, leaseFile } = request;
  const nonce = newNonce();
  const longestMs = request.beginsWithinMs + request.limitMs + request.timerMs + leaseSlackMs;
  const endsByItselfAt = new Date(Date.now() + longestMs).toISOString();
  const { name, socketPath } = guest;
  const orchestrator = ownIdentity();
  await writeFreezeLease(leaseFile, {
    ...{ guest: name, job, socketPath, main, nonce, run, orchestrator, endsByItselfAt },
  });
  return new AgentFreeze(request, nonce);
}

/** For a guest that is slow to begin with its timer, whose clock stands still in the pause. */
const leaseSlackMs = 60_000;

class AgentFreeze implements Freeze {
  readonly #request: FreezeRequest;
  readonly #nonce: string;
  #isBegun = false;
  #frozenAtMs: number | undefined;
  #thawedAtMs: number | undefined;
  #end: Promise<FreezeEnd> | undefined;
  #afterThaw: AfterThaw | null = null;

  constructor(request: FreezeRequest, nonce: string) {
    this.#request = request;
    this.#nonce = nonce;
  }

  async begin(): Promise<FreezeOutcome> {
    const { exchange, run, job, limitMs, timerMs, signal } = this.#request;
    this.#isBegun = true;
    const outcome = await exchange.freeze(this.#nonce, { run, job, limitMs, timerMs }, signal);
    if (outcome.frozen) this.#frozenAtMs = performance.now();
    else if ('refusal' in outcome) this.#isBegun = false;
    return outcome;
  }

  end(): Promise<FreezeEnd> {
    this.#end ??= this.#isBegun ? this.#thaw() : Promise.resolve({ ended: 'notFrozen' });
    return this.#end;
  }

  frozenMs(): number | null {
    if (this.#frozenAtMs === undefined || this.#thawedAtMs === undefined) return null;
    return this.#thawedAtMs - this.#frozenAtMs;
  }

  afterThaw(): AfterThaw | null {
    return this.#afterThaw;
  }

  async close(): Promise<void> {
    const { ended } = await this.end();
    this.afterThaw()?.stop();
    if (ended !== 'unknown') dropFreezeLease(this.#request.leaseFile);
  }

  async #thaw(): Promise<FreezeEnd> {
    const byAgent = await this.#thawByAgent();
    if (byAgent === 'held') return { ended: 'held' };
    // An agent that was started anew knows nothing of what the one before it froze.
    const problem = await this.#thawByKernel();
    if (problem === null) return { ended: byAgent === 'early' ? 'early' : 'byKernel' };
    return isAlive(this.#request.main) ? { ended: 'unknown', problem } : { ended: 'guestGone' };
  }

  async #thawByAgent(): Promise<'held' | 'early' | 'silent'> {
    const { exchange, run } = this.#request;
    try {
      const { thawed, afterThaw } = await exchange.thaw(run, this.#nonce, thawPatienceMs);
      if (thawed === 'silent' || thawed === 'unknown') {
        // No hook is run by an agent that does not thaw.
        afterThaw.stop();
        return 'silent';
      }
      this.#thawedAtMs = performance.now();
      this.#afterThaw = afterThaw;
      return thawed === 'held' ? 'held' : 'early';
    } catch (error) {
      // Whatever keeps its console from answering, the kernel is asked next, by the same console.
      if (error instanceof UmlsnapError) return 'silent';
      throw error;
    }
  }

  /** @returns null when it is done, else why it is not */
  async #thawByKernel(): Promise<string | null> {
    try {
      return problemOfThaw(await this.#request.guest.emergencyThaw());
    } catch (error) {
      if (error instanceof UmlsnapError) return explainError(error);
      throw error;
    }
  }
}

/** An empty OK, or another text, means that nothing was done (uml-facts, fact 8). */
export function problemOfThaw(text: string): string | null {
  return text.includes('Emergency Thaw') ? null : `the kernel answered \`sysrq j\` with "${text}"`;
}
