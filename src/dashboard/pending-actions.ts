import { randomInt } from 'node:crypto';
import { type ControlCommand, numberOf, type Requester } from '../control/request.js';
import type { RequestDispatcher } from '../control/request-dispatcher.js';
import { asUmlsnapError, explainError } from '../error-text.js';

/** What somebody asked for by a button, for the page that they come back to. */
export interface PendingAction {
  id: number;
  /** `A snapshot of debian` */
  what: string;
  outcome: { is: 'underway' } | { is: 'done'; text: string } | { is: 'failed'; text: string };
}

const maxActions = 200;
/** What is refused at once is told on the next page; what takes longer is told as it happens. */
const patienceMs = 600;

/** Has the daemon do what buttons ask for, by the same dispatcher as everybody's requests, and remembers what it came to. */
export class PendingActions {
  readonly #dispatcher: RequestDispatcher;
  readonly #onChange: () => void;
  readonly #actions = new Map<number, PendingAction>();

  constructor(dispatcher: RequestDispatcher, onChange: () => void) {
    this.#dispatcher = dispatcher;
    this.#onChange = onChange;
  }

  find(id: number): PendingAction | undefined {
    return this.#actions.get(id);
  }

  /** Begins what was asked for. @returns when it is under way, or over */
  async ask(
    what: string,
    command: Extract<ControlCommand, { type: 'snapshot' | 'verify' | 'drill' }>,
    requester: Requester,
  ): Promise<PendingAction> {
    return await this.run(what, async (id, isUnderway) => {
      const request = { id, number: numberOf(command.type), requester, command };
      const { output } = await this.#dispatcher.take(request, isUnderway);
      return outcomeOf(output);
    });
  }

  /** The same for what is no request. */
  async run(
    what: string,
    work: (id: number, isUnderway: () => void) => Promise<PendingAction['outcome']>,
  ): Promise<PendingAction> {
    const id = randomInt(1, 0x7fffffff);
    const action: PendingAction = { id, what, outcome: { is: 'underway' } };
    this.#remember(action);
    await new Promise<void>((resolve) => {
      const patience = setTimeout(resolve, patienceMs);
      const goOn = () => {
        clearTimeout(patience);
        resolve();
      };
      work(id, goOn)
        .catch((thrown): PendingAction['outcome'] => ({
          is: 'failed',
          text: explainError(asUmlsnapError(thrown)),
        }))
        .then((outcome) => {
          action.outcome = outcome;
          this.#onChange();
          goOn();
        });
    });
    return action;
  }

  #remember(action: PendingAction): void {
    this.#actions.set(action.id, action);
    const [oldest] = this.#actions.keys();
    if (this.#actions.size > maxActions && oldest !== undefined) this.#actions.delete(oldest);
  }
}

/** What an answer's objects come to: an error, or the job's own summary. */
function outcomeOf(output: readonly object[]): PendingAction['outcome'] {
  const last = output.at(-1) as Record<string, unknown> | undefined;
  if (last?.type === 'error') return { is: 'failed', text: String(last.message) };
  const error = last?.error as { message?: unknown } | null | undefined;
  if (error) return { is: 'failed', text: String(error.message) };
  const warnings = Array.isArray(last?.warnings) ? last.warnings : [];
  return { is: 'done', text: ['done', ...warnings.map((warning) => `warning: ${warning}`)].join('; ') };
}
