import { randomInt } from 'node:crypto';
import { type Demand, numberOf, type Requester } from '../control/request.js';
import type { RequestDesk } from '../control/request-desk.js';
import { asUmlsnapError, explainError } from '../error-text.js';

/** What somebody asked for by a button, for the page that they come back to. */
export interface Errand {
  id: number;
  /** `A snapshot of debian` */
  what: string;
  outcome: { is: 'underway' } | { is: 'done'; text: string } | { is: 'failed'; text: string };
}

const maxErrands = 200;
/** What is refused at once is told on the next page; what takes longer is told as it happens. */
const patienceMs = 600;

/** Has the daemon do what buttons ask for, by the same desk as everybody's requests, and remembers what it came to. */
export class Errands {
  readonly #desk: RequestDesk;
  readonly #onChange: () => void;
  readonly #errands = new Map<number, Errand>();

  constructor(desk: RequestDesk, onChange: () => void) {
    this.#desk = desk;
    this.#onChange = onChange;
  }

  find(id: number): Errand | undefined {
    return this.#errands.get(id);
  }

  /** Begins what was asked for. @returns when it is under way, or over */
  async ask(
    what: string,
    demand: Extract<Demand, { type: 'snapshot' | 'verify' | 'drill' }>,
    requester: Requester,
  ): Promise<Errand> {
    return await this.run(what, async (id, isUnderway) => {
      const request = { id, number: numberOf(demand.type), requester, demand };
      const { output } = await this.#desk.take(request, isUnderway);
      return outcomeOf(output);
    });
  }

  /** The same for what is no request. */
  async run(
    what: string,
    work: (id: number, isUnderway: () => void) => Promise<Errand['outcome']>,
  ): Promise<Errand> {
    const id = randomInt(1, 0x7fffffff);
    const errand: Errand = { id, what, outcome: { is: 'underway' } };
    this.#remember(errand);
    await new Promise<void>((resolve) => {
      const patience = setTimeout(resolve, patienceMs);
      const goOn = () => {
        clearTimeout(patience);
        resolve();
      };
      work(id, goOn)
        .catch((thrown): Errand['outcome'] => ({ is: 'failed', text: explainError(asUmlsnapError(thrown)) }))
        .then((outcome) => {
          errand.outcome = outcome;
          this.#onChange();
          goOn();
        });
    });
    return errand;
  }

  #remember(errand: Errand): void {
    this.#errands.set(errand.id, errand);
    const [oldest] = this.#errands.keys();
    if (this.#errands.size > maxErrands && oldest !== undefined) this.#errands.delete(oldest);
  }
}

/** What an answer's objects come to: an error, or the job's own summary. */
function outcomeOf(output: readonly object[]): Errand['outcome'] {
  const last = output.at(-1) as Record<string, unknown> | undefined;
  if (last?.type === 'error') return { is: 'failed', text: String(last.message) };
  const error = last?.error as { message?: unknown } | null | undefined;
  if (error) return { is: 'failed', text: String(error.message) };
  const warnings = Array.isArray(last?.warnings) ? last.warnings : [];
  return { is: 'done', text: ['done', ...warnings.map((warning) => `warning: ${warning}`)].join('; ') };
}
