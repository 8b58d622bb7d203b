import { request as httpRequest, type IncomingMessage } from 'node:http';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import type { ExitCode } from '../exit-codes.js';
import { controlSocketPath } from './control-socket.js';
import type { DaemonStatus } from './daemon-status.js';
import { jsonLinesType } from './json-lines.js';
import type { RequestBody } from './request-body.js';
import type { Settings } from './settings.js';

/** How long a daemon may take for what it has at hand; what it has to work for takes as long as it takes. */
const patienceMs = 5000;
/** A line holds one object: at most what an answer may hold. */
const maxLineBytes = 8 * 1024 * 1024;

interface Call {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  body?: object;
  accept?: string;
  signal?: AbortSignal;
}

export interface DashboardLogin {
  url: string;
  /** Logs in once, and soon. */
  loginUrl: string;
  /** For whoever scrapes the metrics. */
  scrapeToken: string;
}

/** Talks to the daemon of a state directory. */
export class ControlClient {
  readonly #state: string;
  readonly #socketPath: string;

  constructor(stateDirectory: string) {
    this.#state = stateDirectory;
    this.#socketPath = controlSocketPath(stateDirectory);
  }

  /** @throws NoDaemon when none answers, DaemonGone */
  async status(): Promise<DaemonStatus> {
    return (await this.#ask({ method: 'GET', path: '/status' })) as DaemonStatus;
  }

  /** Changes nothing with no changes. @throws NoDaemon, DaemonGone */
  async changeSettings(changes: Partial<Settings>): Promise<Settings> {
    return (await this.#ask({ method: 'PATCH', path: '/settings', body: changes })) as Settings;
  }

  /**
   * Asks for something, and sees it through to its end.
   * @param take told of progress and of each part of the answer, as it comes
   * @param signal has the daemon give it up, and waits for what that comes to
   * @throws NoDaemon, Usage when the daemon does not take it for a request, DaemonGone
   */
  async request(
    body: RequestBody,
    take: (object: Record<string, unknown>) => void,
    signal?: AbortSignal,
  ): Promise<{ status: ExitCode; cut: boolean }> {
    const response = await this.#call({ method: 'POST', path: '/requests', body, accept: jsonLinesType });
    const onAbort = () => void this.#withdraw(body.id, signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    try {
      for await (const object of this.#linesOf(response)) {
        if (object.type !== 'answer') take(object);
        else return { status: object.status as ExitCode, cut: object.cut === true };
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
    throw this.#gone('it closed the connection');
  }

  /** Asks for something without an answer. @throws NoDaemon, Usage, DaemonGone */
  async requestWithoutAnswer(body: RequestBody): Promise<void> {
    const response = await this.#call({ method: 'POST', path: '/requests', body: { ...body, id: 0 } });
    response.resume();
  }

  /** How to get into the daemon's dashboard. @throws NoDaemon, DashboardUnusable, Usage when it has none, DaemonGone */
  async dashboardLogin(): Promise<DashboardLogin> {
    return (await this.#ask({ method: 'POST', path: '/dashboard/login', body: {} })) as DashboardLogin;
  }

  /** The request may not have arrived yet, or have been answered just now; a daemon that is gone tells whoever waits for it. */
  async #withdraw(id: number, reason: unknown): Promise<void> {
    const because = reason instanceof UmlsnapError && 'signal' in reason.facts ? reason.facts.signal : '';
    try {
      await this.#ask({ method: 'DELETE', path: `/requests/${id}?because=${encodeURIComponent(because)}` });
    } catch (error) {
      if (!(error instanceof UmlsnapError)) throw error;
    }
  }

  async #ask(call: Call): Promise<unknown> {
    const impatience = AbortSignal.timeout(patienceMs);
    const signal = call.method === 'DELETE' ? undefined : impatience;
    const response = await this.#call({ ...call, ...(signal && { signal }) });
    const text = await this.#textOf(response);
    return text === '' ? undefined : this.#parse(text);
  }

  /** The head of an answer that is one. @throws NoDaemon, DaemonGone, and the error that the answer holds */
  async #call({ method, path, body, accept, signal }: Call): Promise<IncomingMessage> {
    const json = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...(accept !== undefined && { accept }),
      ...(json !== undefined && {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(json),
      }),
    };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = {
        socketPath: this.#socketPath,
        method,
        path,
        headers,
        agent: false,
        ...(signal && { signal }),
      };
      const asked = httpRequest(options, resolve);
      asked.once('error', (error) => reject(this.#explain(error)));
      asked.end(json);
    });
    if ((response.statusCode ?? 500) < 400) return response;
    throw errorIn(this.#parse(await this.#textOf(response)));
  }

  #explain(error: Error): UmlsnapError {
    const none = ['ENOENT', 'ECONNREFUSED', 'EACCES', 'ENOTSOCK'].includes(errnoOf(error) ?? '');
    return none
      ? new UmlsnapError('NoDaemon', { state: this.#state }, error)
      : this.#gone(
          error.name === 'TimeoutError' || error.name === 'AbortError'
            ? 'it did not answer in time'
            : problemOf(error),
          error,
        );
  }

  #gone(problem: string, cause?: unknown): UmlsnapError<'DaemonGone'> {
    return new UmlsnapError('DaemonGone', { socketPath: this.#socketPath, problem }, cause);
  }

  async #textOf(response: IncomingMessage): Promise<string> {
    let text = '';
    for await (const line of this.#chunksOf(response)) text += line;
    return text;
  }

  async *#linesOf(response: IncomingMessage): AsyncGenerator<Record<string, unknown>> {
    let rest = '';
    for await (const chunk of this.#chunksOf(response)) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > maxLineBytes) throw this.#gone('it sent a line without an end');
      for (const line of lines) if (line !== '') yield this.#parse(line);
    }
  }

  async *#chunksOf(response: IncomingMessage): AsyncGenerator<string> {
    response.setEncoding('utf8');
    try {
      for await (const chunk of response) yield chunk as string;
    } catch (error) {
      throw error instanceof UmlsnapError ? error : this.#gone(problemOf(error), error);
    }
  }

  #parse(text: string): Record<string, unknown> {
    try {
      return JSON.parse(text) as Record<string, unknown>;
    } catch (error) {
      throw this.#gone('it sent something that is no JSON', error);
    }
  }
}

/** An error of the daemon's, as one of our own. */
export function errorIn(object: Record<string, unknown>): UmlsnapError {
  const { code, facts } = object;
  return new UmlsnapError(code as UmlsnapError['code'], (facts ?? {}) as never);
}
