import type { Logger } from 'pino';
import { answerDemand, keeping } from '../../jobs/answer-demand.js';
import { backup } from '../../jobs/backup.js';
import { ProgressTeller } from '../../jobs/backup-progress.js';
import { type JobSummary, recordSkipped } from '../../jobs/recorded-job.js';
import { type Swept, sweepGuest } from '../../jobs/sweep.js';
import { allStores, House, storeNamed } from '../compose.js';
import type { Config } from '../config/config.js';
import type { JobBoard } from '../control/job-board.js';
import { postOnBoard } from '../control/post-on-board.js';
import type { CarriedDemand, Work } from '../control/request-desk.js';
import type { RunningWorks } from '../control/running-works.js';
import type { LiveSettings } from '../control/settings.js';
import { explainError } from '../error-text.js';
import { isError } from '../errors.js';
import type { ExitCode } from '../exit-codes.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import type { DueRun } from '../schedule/plan-tick.js';
import { logRecovered } from './daemon-log.js';
import { recoverAgain } from './start.js';

export interface DaemonJobsOptions {
  history: SqliteHistory;
  settings: LiveSettings;
  board: JobBoard;
  works: RunningWorks;
  log: Logger;
  /** As it is in force now. */
  config(): Config;
  /** Whoever listens to this guest already. */
  notificationsOf(guest: string): Promise<NotificationSource | undefined>;
}

/** The jobs of a daemon, whoever wanted them: the schedule, a request, or the sweep. */
export class DaemonJobs {
  readonly #options: DaemonJobsOptions;

  constructor(options: DaemonJobsOptions) {
    this.#options = options;
  }

  /** A backup that is due. */
  async runScheduled({ guest, trigger, slot }: DueRun, signal: AbortSignal): Promise<void> {
    const { history, log } = this.#options;
    const config = this.#options.config();
    const guestConfig = config.guests[guest];
    if (!guestConfig) return;
    const facts = { guest, trigger, slot: slot.toISOString() };
    const silent: Work = { signal, publish: () => {}, put: () => {}, onJob: () => {} };
    try {
      const store = storeNamed(config, guestConfig.store);
      const summary = await this.#post(silent, async (work) => {
        const teller = this.#tellerOf(guest, work);
        const order = {
          ...{ config: keeping(guestConfig, this.#keepsAll), trigger, labels: guestConfig.labels },
          signal: work.signal,
          ...{ pinned: false, dryRun: false, wait: false },
          onJob: (job: string) => work.onJob({ job, kind: 'backup', guest, trigger }),
          ...{ onPhase: teller.onPhase, onProgress: teller.onProgress },
        };
        const notifications = () => this.#options.notificationsOf(guest);
        const house = { stateDirectory: config.state, store, history, notifications };
        const done = await backup(order, house);
        work.put(done);
        return done;
      });
      this.#logSummary(summary, 'backup', facts);
    } catch (error) {
      if (!isError(error, 'Busy')) throw error;
      log.warn(facts, `backup skipped: ${explainError(error)}`);
      await recordSkipped(history, { kind: 'backup', guest, trigger }, error);
    }
  }

  /** What was asked for. @throws what a command by hand tells as an error */
  async carryOut(demand: CarriedDemand, asked: Work): Promise<ExitCode> {
    const { history, log, notificationsOf } = this.#options;
    const config = this.#options.config();
    if (demand.type !== 'status') logRecovered(await recoverAgain(new House(config, history)), log, false);
    const house = {
      ...{ config, history, stores: allStores(config), keepsAll: this.#keepsAll, notificationsOf },
      store: (name: string) => storeNamed(config, name),
    };
    const logged: Work = {
      ...asked,
      publish: (progress) => {
        log.debug(progress, 'progress');
        asked.publish(progress);
      },
      onJob: (job) => {
        log.debug(job, 'job begins');
        asked.onJob(job);
      },
      put: (output) => {
        asked.put(output);
        if ('kind' in output) this.#logSummary(output as JobSummary, (output as JobSummary).kind, {});
      },
    };
    return await this.#post(logged, (work) => answerDemand(demand, house, work));
  }

  /** Removes what has expired, guest by guest. Tells of its failures in the log. */
  async sweep(signal: AbortSignal): Promise<void> {
    const { history, log } = this.#options;
    const config = this.#options.config();
    const house = {
      ...{ stateDirectory: config.state, history },
      store: (name: string) => storeNamed(config, name),
    };
    for (const guest of Object.values(config.guests)) {
      if (signal.aborted || this.#keepsAll) return;
      try {
        const swept = await sweepGuest(guest, house);
        if (swept.found === 'expired') this.#logSummary(swept.summary, 'sweep', {});
        else log.debug({ guest: swept.guest, found: swept.found, ...whyNot(swept) }, 'sweep');
      } catch (error) {
        log.error({ guest: guest.name }, `sweep failed: ${explainError(error)}`);
      }
    }
  }

  /** For all to see, and for those who may to give up. */
  #post<T>(work: Work, use: (work: Work) => Promise<T>): Promise<T> {
    const { board, works } = this.#options;
    return works.enter(work, (cancellable) => postOnBoard(board, cancellable, use));
  }

  get #keepsAll(): boolean {
    return this.#options.settings.current.keep;
  }

  #tellerOf(guest: string, work: Work): ProgressTeller {
    return new ProgressTeller(guest, (progress) => {
      this.#options.log.debug(progress, 'progress');
      work.publish(progress);
    });
  }

  #logSummary(summary: JobSummary, what: string, more: Record<string, unknown>): void {
    const { log } = this.#options;
    const { type: _, phases: __, kept: ___, ...facts } = { ...more, ...summary } as Record<string, unknown>;
    if (summary.error?.code === 'GuestMayBePaused') log.fatal(facts, 'GUEST MAY BE PAUSED');
    else if (summary.error) log.error(facts, `${what} failed`);
    else if (summary.warnings.length > 0) log.warn(facts, `${what} done, with warnings`);
    else log.info(facts, `${what} done`);
  }
}

function whyNot(swept: Swept): { why?: string } {
  if (swept.found !== 'notNow') return {};
  return { why: swept.why === 'storeAway' ? 'its store is not there' : explainError(swept.why) };
}
