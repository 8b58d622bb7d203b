import { randomBytes } from 'node:crypto';
import type { NotificationSource } from '../../mconsole/notify-listener.js';
import {
  type AgentAnswer,
  type AgentOrder,
  type AgentRefusal,
  type FailedHook,
  formatOrder,
  parseAnswer,
} from './agent-messages.js';

/** What an exchange needs of a guest. */
export interface AgentConsole {
  /** Writes a line to the guest's kernel log, which is where its agent reads. */
  log(line: string, timeoutMs: number): Promise<void>;
}

export type PingOutcome =
  | { agent: 'ready'; run: string }
  | { agent: 'silent'; waitedMs: number }
  /** It speaks a protocol that is newer than ours. */
  | { agent: 'tooNew' };

export type FreezeOutcome =
  | { frozen: true; filesystems: string[] }
  | { frozen: false; refusal: AgentRefusal }
  | { frozen: false; silentForMs: number };

export type ThawOutcome =
  | { thawed: 'held' }
  /** Something else had ended the freeze before: the guest's own timer, its administrator, its reboot. */
  | { thawed: 'endedBefore' }
  /** The agent knows nothing of this freeze: it is not the one that began it. */
  | { thawed: 'unknown' }
  | { thawed: 'silent'; waitedMs: number };

export type DrillHooksOutcome = { ran: number } | { failed: FailedHook } | { silentForMs: number };

export interface FreezeOrder {
  run: string;
  job: string;
  /** How long hooks, sync and freeze may take. */
  limitMs: number;
  /** When the guest ends the freeze by itself, counted from its beginning. */
  timerMs: number;
}

/**
 * Talks to the agent in a guest: orders go out by its console, one at a time, and answers come as notifications. Each
 * exchange has a nonce of its own, so that stale, repeated and foreign answers are none.
 */
export class AgentExchange {
  readonly #console: AgentConsole;
  readonly #source: NotificationSource;

  constructor(console: AgentConsole, source: NotificationSource) {
    this.#console = console;
    this.#source = source;
  }

  /** @throws what a request to a console throws, as `freeze` and `thaw` do */
  async ping(limitMs: number, signal?: AbortSignal): Promise<PingOutcome> {
    const nonce = newNonce();
    const answer = await this.#ask({ order: 'ping', nonce }, ['pong', 'tooNew'], limitMs, signal);
    if (answer?.said === 'pong') return { agent: 'ready', run: answer.run };
    return answer ? { agent: 'tooNew' } : { agent: 'silent', waitedMs: limitMs };
  }

  /** @param nonce names this freeze for its thaw: `newNonce()` */
  async freeze(nonce: string, order: FreezeOrder, signal?: AbortSignal): Promise<FreezeOutcome> {
    const { run, job, limitMs, timerMs } = order;
    const limitSeconds = Math.max(1, Math.ceil(limitMs / 1000));
    const timerSeconds = Math.max(1, Math.ceil(timerMs / 1000));
    const message: AgentOrder = { order: 'freeze', nonce, run, job, limitSeconds, timerSeconds };
    // The agent gives up by its own clock, in whole seconds; whoever waits for less would miss its reason.
    const patienceMs = 1000 * limitSeconds + answerSlackMs;
    const answer = await this.#ask(message, ['frozen', 'refused'], patienceMs, signal);
    if (answer?.said === 'frozen') return { frozen: true, filesystems: answer.filesystems };
    if (answer?.said === 'refused') return { frozen: false, refusal: answer.refusal };
    return { frozen: false, silentForMs: patienceMs };
  }

  /**
   * Ends the freeze `of`. It can't be called off: whoever has begun a freeze waits for its end. The hooks that follow it
   * go on in the guest meanwhile; `afterThaw` tells of them.
   */
  async thaw(run: string, of: string, limitMs: number): Promise<ThawOutcome & { afterThaw: AfterThaw }> {
    const nonce = newNonce();
    // From now on: they may be through before the thaw is answered here.
    const hooks = this.#listenFor(nonce, ['after']);
    const afterThaw: AfterThaw = {
      stop: hooks.stop,
      outcome: async (hookLimitMs) => {
        const answer = await hooks.answer(hookLimitMs);
        return answer?.said === 'after' ? { failed: answer.failed } : 'silent';
      },
    };
    try {
      const answer = await this.#ask({ order: 'thaw', nonce, run, of }, ['thawed'], limitMs);
      if (answer?.said !== 'thawed') return { thawed: 'silent', waitedMs: limitMs, afterThaw };
      const thawed = ({ yes: 'held', no: 'endedBefore', unknown: 'unknown' } as const)[answer.held];
      return { thawed, afterThaw };
    } catch (error) {
      hooks.stop();
      throw error;
    }
  }

  /** Has the agent run the hooks of a drill. */
  async drill(run: string, limitMs: number, signal?: AbortSignal): Promise<DrillHooksOutcome> {
    const limitSeconds = Math.max(1, Math.ceil(limitMs / 1000));
    const patienceMs = 1000 * limitSeconds + answerSlackMs;
    const order: AgentOrder = { order: 'drill', nonce: newNonce(), run, limitSeconds };
    const answer = await this.#ask(order, ['drilled'], patienceMs, signal);
    return answer?.said === 'drilled' ? answer.outcome : { silentForMs: patienceMs };
  }

  async #ask(
    order: AgentOrder,
    wanted: AgentAnswer['said'][],
    limitMs: number,
    signal?: AbortSignal,
  ): Promise<AgentAnswer | undefined> {
    // Before the order goes out: its answer may be faster than that of the console.
    const listening = this.#listenFor(order.nonce, wanted);
    try {
      await this.#console.log(formatOrder(order), limitMs);
      return await listening.answer(limitMs, signal);
    } finally {
      listening.stop();
    }
  }

  #listenFor(nonce: string, wanted: AgentAnswer['said'][]): Listening {
    let heard: AgentAnswer | undefined;
    let wake = () => {};
    const stop = this.#source.subscribe((notification) => {
      if (heard !== undefined || notification.type !== 'message') return;
      const answer = parseAnswer(notification.text);
      if (answer?.nonce !== nonce || !wanted.includes(answer.said)) return;
      heard = answer;
      wake();
    });
    const answer = async (limitMs: number, signal?: AbortSignal) => {
      signal?.throwIfAborted();
      if (heard !== undefined) return heard;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, limitMs);
        wake = () => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', wake);
          resolve();
        };
        signal?.addEventListener('abort', wake, { once: true });
      });
      signal?.throwIfAborted();
      return heard;
    };
    return { answer, stop };
  }
}

interface Listening {
  answer(limitMs: number, signal?: AbortSignal): Promise<AgentAnswer | undefined>;
  stop(): void;
}

/** The hooks after a thaw, of which the agent tells when all of them have ended. */
export interface AfterThaw {
  /** Waits for them, if need be: which of them failed, or that nothing was heard of them. */
  outcome(limitMs: number): Promise<{ failed: FailedHook | null } | 'silent'>;
  /** To be called at last, heard or not. */
  stop(): void;
}

/** For an answer to come from the guest to us, both of which may be busy. */
const answerSlackMs = 5000;

/** Names one exchange; nobody can guess it. */
export const newNonce = (): string => randomBytes(12).toString('hex');
