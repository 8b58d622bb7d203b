import { asUmlsnapError, explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodeOf, exitCodes } from '../exit-codes.js';
import { decideRequest } from './decide-request.js';
import type { RunningJob } from './job-registry.js';
import { type Answer, answerOf, type ControlCommand, type Request, type Requester } from './request.js';
import type { Settings } from './settings.js';

/** What somebody else carries out for the dispatcher. */
export type CarriedCommand = Exclude<ControlCommand, { type: 'cancel' }>;

/** One request at work, as whoever carries it out sees it. */
export interface Work {
  /** Aborted with the reason why it is to be given up. */
  signal: AbortSignal;
  /** Told to whoever follows, and to nobody else. */
  publish(progress: object): void;
  /** A part of the answer. */
  put(output: object): void;
  onJob(job: Omit<RunningJob, 'startedAt'>): void;
}

export interface DispatcherOptions {
  settings(): Settings;
  carryOut(command: CarriedCommand, work: Work): Promise<ExitCode>;
  /** For the log; must not throw. */
  report(event: DispatcherEvent): void;
}

export type DispatcherEvent =
  | { event: 'taken'; request: Request }
  | { event: 'refused'; request: Request; because: UmlsnapError }
  | { event: 'answered'; request: Request; status: ExitCode; job: string | null }
  | { event: 'failed'; request: Request; error: UmlsnapError };

/** A request at work, for people who look. */
export interface RunningRequest {
  id: number;
  type: ControlCommand['type'];
  requester: Requester;
  job: string | null;
}

interface Entry extends RunningRequest {
  abort: AbortController;
  ended: Promise<unknown>;
}

/**
 * Takes requests, from wherever they come, and sees each through to its answer. Whoever asked may go away meanwhile: what
 * was begun goes on.
 */
export class RequestDispatcher {
  readonly #options: DispatcherOptions;
  readonly #running = new Set<Entry>();
  #isClosed: UmlsnapError | undefined;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /**
   * Never fails: what goes wrong is in the answer, as a command would tell it.
   * @param follow told of progress and of each part of the answer, as it comes
   */
  async take(request: Request, follow: (object: object) => void = () => {}): Promise<Answer> {
    const { report, settings } = this.#options;
    const output: object[] = [];
    const put = (object: object) => {
      output.push(object);
      follow(object);
    };
    const decision = decideRequest(request, {
      settings: settings(),
      runningRequests: this.#running.size,
      runningOfRequester: [...this.#running].filter((entry) => isSame(entry.requester, request.requester))
        .length,
      idIsTaken: request.id !== 0 && this.#find(request.requester, request.id) !== undefined,
    });
    if (decision.does === 'refuse') {
      report({ event: 'refused', request, because: decision.because });
      put(errorObject(decision.because));
      return answerOf(request.id, exitCodeOf(decision.because.code), output);
    }
    report({ event: 'taken', request });
    const status = await this.#see(request, decision.command, put, follow);
    return answerOf(request.id, status, output);
  }

  /** Ends a request that is under way; it is told the reason. @returns when it has ended; false: there is none */
  async withdraw(requester: Requester, id: number, because: string): Promise<boolean> {
    const entry = id === 0 ? undefined : this.#find(requester, id);
    entry?.abort.abort(new UmlsnapError('Interrupted', { signal: because }));
    await entry?.ended;
    return entry !== undefined;
  }

  running(): RunningRequest[] {
    return [...this.#running].map(({ id, type, requester, job }) => ({ id, type, requester, job }));
  }

  /** Gives up what is under way, takes nothing more, and returns when all has been answered. */
  async close(because: UmlsnapError): Promise<void> {
    this.#isClosed = because;
    for (const { abort } of this.#running) abort.abort(because);
    await Promise.all([...this.#running].map(({ ended }) => ended));
  }

  async #see(
    request: Request,
    command: ControlCommand,
    put: (object: object) => void,
    publish: (object: object) => void,
  ): Promise<ExitCode> {
    const { report } = this.#options;
    const { id, requester } = request;
    const abort = new AbortController();
    const entry: Entry = { id, type: command.type, requester, job: null, abort, ended: Promise.resolve() };
    const work: Work = {
      ...{ signal: abort.signal, publish, put },
      onJob: (job) => {
        entry.job = job.job;
      },
    };
    const carriedOut = this.#carryOut(command, requester, work);
    entry.ended = carriedOut.catch(() => {});
    this.#running.add(entry);
    try {
      const status = await carriedOut;
      report({ event: 'answered', request, status, job: entry.job });
      return status;
    } catch (thrown) {
      const error = asUmlsnapError(thrown);
      report({ event: 'failed', request, error });
      put(errorObject(error));
      return exitCodeOf(error.code);
    } finally {
      this.#running.delete(entry);
    }
  }

  async #carryOut(command: ControlCommand, requester: Requester, work: Work): Promise<ExitCode> {
    if (this.#isClosed) throw this.#isClosed;
    switch (command.type) {
      case 'cancel':
        if (!(await this.withdraw(requester, command.of, 'a request to cancel')))
          throw new UmlsnapError('NoSuchRequest', { id: command.of });
        work.put({ type: 'cancelled', id: command.of });
        return exitCodes.done;
      default:
        return await this.#options.carryOut(command, work);
    }
  }

  #find(requester: Requester, id: number): Entry | undefined {
    return [...this.#running].find((entry) => entry.id === id && isSame(entry.requester, requester));
  }
}

/** Processes of this host share their ids: one of them may cancel what another one asked for. */
function isSame(one: Requester, other: Requester): boolean {
  if (one.from === 'host' || other.from === 'host') return one.from === other.from;
  return one.guest === other.guest;
}

/** A failure as a command prints it with `--json`. */
export function errorObject(error: UmlsnapError): object {
  return { type: 'error', code: error.code, message: explainError(error), facts: error.facts };
}
