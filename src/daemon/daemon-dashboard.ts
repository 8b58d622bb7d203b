import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { pin } from '../../jobs/pin.js';
import { App } from '../compose.js';
import type { DashboardConfig } from '../config/config.js';
import type { JobRegistry } from '../control/job-registry.js';
import type { RequestDispatcher } from '../control/request-dispatcher.js';
import { Dashboard } from '../dashboard/dashboard.js';
import type { RouteParts } from '../dashboard/http/http-auth.js';
import { type Listening, withPageServer } from '../dashboard/http/page-server.js';
import { addDashboard } from '../dashboard/http/routes.js';
import { Keys } from '../dashboard/keys.js';
import { LoginCodes } from '../dashboard/login-codes.js';
import { Sessions } from '../dashboard/sessions.js';
import { readToken } from '../dashboard/token-file.js';
import { asUmlsnapError, explainError } from '../error-text.js';
import { isError, type UmlsnapError } from '../errors.js';
import { conditionOf } from '../guest/guest-condition.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { holderOf } from '../locks/exclusive-lock.js';
import { leaseLock } from '../pause/lease.js';
import { version } from '../version.js';
import type { CancellableJobs } from './cancellable-jobs.js';
import type { LiveConfig } from './live-config.js';

export interface DaemonDashboardOptions {
  config: LiveConfig;
  history: SqliteHistory;
  registry: JobRegistry;
  dispatcher: RequestDispatcher;
  cancellableJobs: CancellableJobs;
  log: Logger;
}

/** The pages and metrics of a daemon: at the address of its config, and on its control socket. */
export class DaemonDashboard {
  readonly #options: DaemonDashboardOptions;
  readonly #config: DashboardConfig;
  readonly #dashboard: Dashboard;
  readonly #codes = new LoginCodes(() => performance.now());
  readonly #sessions = new Sessions((id) => this.#dashboard.feed.dismiss(id));
  /** Why there is no address. */
  #problem: UmlsnapError | undefined;
  #keys: Keys;
  #listening: Listening | undefined;

  constructor(options: DaemonDashboardOptions, config: DashboardConfig) {
    this.#options = options;
    this.#config = config;
    // Where the file is no good, the socket's pages have forms all the same.
    this.#keys = new Keys(randomBytes(32).toString('base64url'));
    this.#dashboard = new Dashboard({
      ...{
        config: options.config.get,
        history: options.history,
        registry: options.registry,
        dispatcher: options.dispatcher,
      },
      refusedReload: () => options.config.refused,
      ...{ hostName: hostname(), version, startedAt: new Date().toISOString() },
      look: async (guest) => {
        const { state, problem } = await conditionOf(guest);
        return { state, problem: problem?.message ?? null };
      },
      isAtWork: async (guest) => (await holderOf(leaseLock(options.config.get().state, guest))) !== undefined,
      pin: async (snapshot, pinned) => {
        await pin(snapshot, pinned, new App(options.config.get(), options.history));
      },
      cancel: (job) => options.cancellableJobs.cancel(job, 'the dashboard'),
      onError: (error) => options.log.warn(explainError(asUmlsnapError(error))),
    });
  }

  /** Runs `use` while the pages can be had; where they can't be, the schedule runs all the same, and the log says so. */
  async with<T>(use: () => Promise<T>): Promise<T> {
    const { log } = this.#options;
    let isListening = false;
    try {
      this.#keys = new Keys(readToken(this.#config.tokenFile));
      return await withPageServer(this.#config, this.#partsFor('tcp'), (listening) => {
        isListening = true;
        this.#listening = listening;
        log.info({ url: this.#url(), login: 'umlsnap ctl dashboard' }, 'dashboard');
        return use();
      });
    } catch (error) {
      if (isListening || !isError(error, 'DashboardUnusable')) throw error;
      this.#problem = error;
      log.warn(explainError(error));
      return await use();
    } finally {
      await this.#dashboard.close();
    }
  }

  /** Adds the pages to the control socket, and what `umlsnap ctl dashboard` asks there. */
  readonly extend = (app: FastifyInstance): void => {
    app.post('/dashboard/login', () => {
      if (this.#problem) throw this.#problem;
      const url = this.#url();
      return { url, loginUrl: `${url}login?code=${this.#codes.make()}`, scrapeToken: this.#keys.scrapeToken };
    });
    addDashboard(app, this.#partsFor('socket'));
  };

  #partsFor(via: 'socket' | 'tcp'): RouteParts {
    return {
      ...{ dashboard: this.#dashboard, keys: this.#keys, codes: this.#codes, sessions: this.#sessions, via },
      rules: () => this.#options.config.get().dashboard ?? this.#config,
    };
  }

  #url(): string {
    const { address, port } = this.#listening ?? this.#config;
    const isAny = address === '0.0.0.0' || address === '::';
    const name = isAny ? (this.#config.hosts[0] ?? hostname()) : address;
    return `http://${name.includes(':') ? `[${name}]` : name}:${port}/`;
  }
}
