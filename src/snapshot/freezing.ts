import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import { type NotFrozenCause, UmlsnapError } from '../errors.js';
import type { FreezeOutcome } from '../guest/agent/agent-exchange.js';
import type { AgentRefusal, FailedHook } from '../guest/agent/agent-messages.js';
import { askAgent, type FoundAgent, type ReadyAgent } from '../guest/agent/with-agent.js';
import type { Freeze, FreezeEnd } from '../pause/freeze.js';
import type { PhaseJournal } from './phase-journal.js';

/**
 * What the job knows of freezing: the agent to ask, and why there is none or none any more. Where the config requires
 * `frozen`, each reason against it ends the job; otherwise it goes on without, and says so.
 */
export class Freezing {
  readonly #config: GuestConfig;
  readonly #warnings: string[] = [];
  #agent: ReadyAgent | null = null;

  /** @throws NotFrozen */
  constructor(config: GuestConfig, found: FoundAgent) {
    this.#config = config;
    this.#take(found);
  }

  /**
   * Asks the agent again, if there was one: while the disks were copied, for hours perhaps, it may have ended, or been started
   * anew, and obeys only those who know which run of it they talk to.
   * @throws NotFrozen, what a request to a console throws, and the signal's reason
   */
  async askAgain(signal: AbortSignal): Promise<void> {
    if (this.#agent) this.#take(await askAgent(this.#agent.exchange, signal));
  }

  /** null: the guest is not frozen, or not any more. */
  get agent(): ReadyAgent | null {
    return this.#agent;
  }

  get warnings(): string[] {
    return this.#warnings;
  }

  /**
   * Has the guest frozen, after which nothing slow may come before its stop.
   * @returns false when it was not: it runs on, without a freeze
   * @throws NotFrozen, what a request to a console throws, and the signal's reason
   */
  async begin(freeze: Freeze, journal: PhaseJournal): Promise<boolean> {
    const startedMs = performance.now();
    const outcome = await freeze.begin();
    const freezeMs = Math.round(performance.now() - startedMs);
    if (outcome.frozen) {
      journal.note({ freezeMs, filesystems: outcome.filesystems });
      return true;
    }
    journal.note({ freezeMs, notFrozen: refusalOf(outcome) });
    // What it has frozen all the same, and its hooks have begun, ends before the guest is stopped.
    await freeze.end();
    const { cause, detail } = refusalOf(outcome);
    this.#isNot(cause, detail);
    return false;
  }

  /** Ends the freeze, whatever became of the pause, and tells of it: to be called once. */
  async end(freeze: Freeze, journal: PhaseJournal): Promise<void> {
    const end = await freeze.end();
    if (end.ended === 'notFrozen') return;
    const frozenMs = freeze.frozenMs();
    journal.note({ thawed: end.ended, ...(frozenMs !== null && { frozenMs: Math.round(frozenMs) }) });
    if (end.ended === 'unknown') this.#warnings.push(this.#mayBeFrozen(end));
  }

  /** Waits for the hooks that follow a thaw; what went wrong with them is a warning, for the capture is done. */
  async hearThawHooks(freeze: Freeze): Promise<void> {
    const outcome = await freeze.afterThaw()?.outcome(thawHookPatienceMs);
    if (outcome === undefined || (outcome !== 'silent' && outcome.failed === null)) return;
    const problem =
      outcome === 'silent' ? 'nothing was heard of its hooks' : `its hook ${wordsOf(outcome.failed)}`;
    const { name } = this.#config;
    this.#warnings.push(explainError(new UmlsnapError('ThawHookFailed', { guest: name, problem })));
  }

  /** The capture is done, and the freeze did not last until its end. @throws NotFrozen */
  endedEarly(end: FreezeEnd): void {
    const how = {
      early: 'something else had ended it',
      byKernel: 'its agent did not answer any more',
    } as const;
    const detail =
      end.ended === 'early' || end.ended === 'byKernel' ? how[end.ended] : 'the thaw was not answered';
    this.#isNot('endedEarly', detail);
  }

  #take({ agent, missing }: FoundAgent): void {
    this.#agent = agent;
    if (missing) this.#isNot(missing.cause, missing.detail);
  }

  #isNot(cause: NotFrozenCause, detail: string): void {
    this.#agent = null;
    const error = new UmlsnapError('NotFrozen', { guest: this.#config.name, cause, detail });
    if (this.#config.require === 'frozen') throw error;
    if (!expectedCauses.includes(cause)) this.#warnings.push(explainError(error));
  }

  #mayBeFrozen({ problem }: FreezeEnd & { ended: 'unknown' }): string {
    const { name, pauseBudgetMs, freezeTimeoutMs } = this.#config;
    const endsByItselfAt = new Date(Date.now() + timerMsOf(pauseBudgetMs) + freezeTimeoutMs).toISOString();
    return explainError(new UmlsnapError('GuestMayBeFrozen', { guest: name, problem, endsByItselfAt }));
  }
}

/** Nobody who has set a guest up like this hopes for a freeze. */
const expectedCauses: NotFrozenCause[] = ['off', 'notBootedWithNotify'];

/** How long the guest lets hooks after a thaw run, each; here for all of them together. */
const thawHookPatienceMs = 35_000;

/**
 * After so long the guest ends a freeze by itself. It counts from the first filesystem that is frozen, its clock jumps over
 * the pause, and until the stop the host may still have to write what the freeze wrote.
 */
export const timerMsOf = (pauseBudgetMs: number): number => pauseBudgetMs + 15_000;

function refusalOf(outcome: FreezeOutcome & { frozen: false }): { cause: NotFrozenCause; detail: string } {
  if (!('refusal' in outcome)) return { cause: 'noAnswer', detail: `${outcome.silentForMs} ms` };
  return causeOf(outcome.refusal);
}

function causeOf(refusal: AgentRefusal): { cause: NotFrozenCause; detail: string } {
  switch (refusal.why) {
    case 'hook':
      if (refusal.exit === 'late') return { cause: 'hookOverran', detail: refusal.hook };
      return { cause: 'hookFailed', detail: wordsOf(refusal) };
    case 'filesystem':
      return { cause: 'filesystemRefused', detail: refusal.text };
    case 'late':
      return { cause: 'tookTooLong', detail: refusal.text };
  }
}

function wordsOf(failed: FailedHook | null): string {
  if (failed === null) return '';
  const { hook, exit, text } = failed;
  const end = exit === 'late' ? 'took too long, and was killed' : `failed with exit code ${exit}`;
  return `${hook} ${end}${text === '' ? '' : ` (${text})`}`;
}
