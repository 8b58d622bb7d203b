import type { Logger } from 'pino';
import { verify } from '../../jobs/verify.js';
import { App, copyDeps, storesOf } from '../compose.js';
import type { Config, GuestConfig } from '../config/config.js';
import type { JobRegistry } from '../control/job-registry.js';
import type { CarriedCommand, Work } from '../control/request-dispatcher.js';
import type { LiveSettings } from '../control/settings.js';
import { explainError } from '../error-text.js';
import { isError, type UmlsnapError } from '../errors.js';
import type { ExitCode } from '../exit-codes.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { ProgressReporter } from '../job/backup-progress.js';
import { type JobSummary, recordSkipped } from '../job/recorded-job.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { nextSlot } from '../schedule/cron-slots.js';
import type { DueRun } from '../schedule/plan-tick.js';
import { workOfEntry } from '../schedule/timetable.js';
import { recoverAgain } from '../start.js';
import type { VerifyProgress } from '../verify/verify-tally.js';
import { backupWhenFree } from './backup-when-free.js';
import type { CancellableJobs } from './cancellable-jobs.js';
import type { DaemonAlerts } from './daemon-alerts.js';
import { logRecovered } from './daemon-log.js';
import { drillSample } from './drill-sample.js';
import { executeCommand, withKeepAll } from './execute-command.js';
import { registerJobs } from './register-jobs.js';
import { type Swept, sweepGuest } from './sweep.js';

export interface DaemonJobsOptions {
  history: SqliteHistory;
  settings: LiveSettings;
  registry: JobRegistry;
  cancellableJobs: CancellableJobs;
  log: Logger;
  alerts: DaemonAlerts;
  /** As it is in force now. */
  config(): Config;
  /** Whoever listens to this guest already. */
  notificationsOf(guest: string): Promise<NotificationSource | undefined>;
}

const sweepAgainMs = 60 * 60_000;

/** The jobs of a daemon, whoever wanted them: the schedule, a request, or the sweep. */
export class DaemonJobs {
  readonly #options: DaemonJobsOptions;
  /** By guest, whose last sweep had something to say. */
  readonly #sweepAgainAtMs = new Map<string, number>();

  constructor(options: DaemonJobsOptions) {
    this.#options = options;
  }

  /** What is due by the timetable. */
  async runScheduled(run: DueRun, signal: AbortSignal): Promise<void> {
    const due = workOfEntry(run.name);
    switch (due?.is) {
      case 'backup':
        return await this.#backUp(due.guest, run, signal);
      case 'drill':
        return await this.#drillSample(run, signal);
      case 'verify':
        return await this.#verifyDue(run, signal);
      default:
        this.#options.log.error({ entry: run.name }, 'nothing is known of this entry of the timetable');
    }
  }

  async #backUp(guest: string, { trigger, slot }: DueRun, signal: AbortSignal): Promise<void> {
    const { history, log } = this.#options;
    const config = this.#options.config();
    const guestConfig = config.guests[guest];
    if (!guestConfig) return;
    const facts = { guest, trigger, slot: slot.toISOString() };
    const silent: Work = { signal, publish: () => {}, put: () => {}, onJob: () => {} };
    let hasBegun = false;
    try {
      const stores = storesOf(config, guestConfig);
      const summary = await this.#post(silent, async (work) => {
        const reporter = this.#reporterOf(guest, work);
        const order = {
          ...{ config: withKeepAll(guestConfig, this.#keepsAll), trigger, labels: guestConfig.labels },
          signal: work.signal,
          ...{ pinned: false, dryRun: false },
          onJob: (job: string) => {
            hasBegun = true;
            work.onJob({ job, kind: 'backup', guest, trigger });
            this.#options.alerts.backupBegins(guest);
          },
          ...{ onPhase: reporter.onPhase, onProgress: reporter.onProgress, onFill: reporter.onFill },
        };
        const notifications = () => this.#options.notificationsOf(guest);
        const deps = { stateDirectory: config.state, stores, history, notifications };
        const onPutOff = (busy: UmlsnapError<'Busy'>) =>
          log.info(facts, `backup put off: ${explainError(busy)}`);
        const done = await backupWhenFree(order, deps, { onPutOff });
        work.put(done);
        return done;
      });
      this.#logSummary(summary, 'backup', facts);
    } catch (error) {
      // Its slot is used up: one that was given up while it waited must not be gone without a trace.
      const wasGivenUp = !hasBegun && isError(error, 'Interrupted');
      if (!isError(error, 'Busy') && !wasGivenUp) throw error;
      log.warn(facts, `backup skipped: ${explainError(error)}`);
      await recordSkipped(history, { kind: 'backup', guest, trigger }, error);
    }
  }

  async #drillSample({ trigger, slot }: DueRun, signal: AbortSignal): Promise<void> {
    const { history, log } = this.#options;
    const config = this.#options.config();
    const silent: Work = { signal, publish: () => {}, put: () => {}, onJob: () => {} };
    await this.#post(silent, async (work) => {
      const summaries = await drillSample(
        { config: config.drill, stores: copyDeps(config, history).stores, history },
        {
          ...{ trigger, signal: work.signal },
          onJob: (job, guest) => work.onJob({ job, kind: 'drill', guest, trigger }),
          onProblem: (error) => log.warn(`drill: ${explainError(error)}`),
        },
      );
      for (const summary of summaries) this.#logSummary(summary, 'drill', { slot: slot.toISOString() });
    });
  }

  /** As much as is due, so that each snapshot is read once in its time. */
  async #verifyDue({ trigger, slot }: DueRun, signal: AbortSignal): Promise<void> {
    const { history } = this.#options;
    const config = this.#options.config();
    const { schedule, timezone, withinMs } = config.verify;
    if (schedule === null) return;
    const nextRun = nextSlot(schedule, timezone, new Date());
    const silent: Work = { signal, publish: () => {}, put: () => {}, onJob: () => {} };
    const summary = await this.#post(silent, async (work) => {
      const onProgress = (progress: VerifyProgress) => {
        this.#options.log.debug(progress, 'progress');
        work.publish(progress);
      };
      const onJob = (job: string) => work.onJob({ job, kind: 'verify', guest: null, trigger });
      const app = new App(config, history);
      const scope = { of: 'due' as const, withinMs, nextRun };
      const done = await verify(scope, app, { signal: work.signal, onProgress }, { trigger, onJob });
      work.put(done);
      return done;
    });
    this.#logSummary(summary, 'verify', { trigger, slot: slot.toISOString() });
  }

  /** What was asked for. @throws what a command by hand tells as an error */
  async carryOut(command: CarriedCommand, asked: Work): Promise<ExitCode> {
    const { history, log, notificationsOf } = this.#options;
    const config = this.#options.config();
    if (command.type !== 'status') logRecovered(await recoverAgain(new App(config, history)), log, false);
    const deps = {
      ...{ config, ...copyDeps(config, history), history, keepsAll: this.#keepsAll, notificationsOf },
      storesOf: (guest: GuestConfig) => storesOf(config, guest),
    };
    const logged: Work = {
      ...asked,
      publish: (progress) => {
        this.#options.log.debug(progress, 'progress');
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
    return await this.#post(logged, (work) => executeCommand(command, deps, work));
  }

  /** Removes what has expired, guest by guest. Tells of its failures in the log. */
  async sweep(signal: AbortSignal): Promise<void> {
    const { history, log } = this.#options;
    const config = this.#options.config();
    const deps = {
      ...{ stateDirectory: config.state, history },
      storesOf: (guest: GuestConfig) => storesOf(config, guest),
    };
    for (const guest of Object.values(config.guests)) {
      if (signal.aborted || this.#keepsAll) return;
      if (performance.now() < (this.#sweepAgainAtMs.get(guest.name) ?? 0)) continue;
      try {
        const swept = await sweepGuest(guest, deps);
        if (swept.found === 'expired') {
          this.#logSummary(swept.summary, 'sweep', {});
          const { error, warnings } = swept.summary;
          // What could not be removed can't be in a minute either, and each try takes the guest's locks.
          if (error || warnings.length > 0)
            this.#sweepAgainAtMs.set(guest.name, performance.now() + sweepAgainMs);
        } else log.debug({ guest: swept.guest, found: swept.found, ...whyNot(swept) }, 'sweep');
      } catch (error) {
        log.error({ guest: guest.name }, `sweep failed: ${explainError(error)}`);
      }
    }
  }

  /** For all to see, and for those who may to give up. */
  #post<T>(work: Work, use: (work: Work) => Promise<T>): Promise<T> {
    const { registry, cancellableJobs } = this.#options;
    return cancellableJobs.track(work, (cancellable) => registerJobs(registry, cancellable, use));
  }

  get #keepsAll(): boolean {
    return this.#options.settings.current.keep;
  }

  #reporterOf(guest: string, work: Work): ProgressReporter {
    return new ProgressReporter(guest, (progress) => {
      this.#options.log.debug(progress, 'progress');
      work.publish(progress);
    });
  }

  #logSummary(summary: JobSummary, what: string, more: Record<string, unknown>): void {
    const { log, alerts } = this.#options;
    // Beside what comes next: nobody waits for a mail.
    void alerts.jobEnded(summary, { isScheduled: 'slot' in more });
    const { type: _, phases: __, kept: ___, ...facts } = { ...more, ...summary } as Record<string, unknown>;
    if (summary.error?.code === 'GuestMayBePaused') log.fatal(facts, 'GUEST MAY BE PAUSED');
    else if (summary.status === 'skipped') log.info(facts, `${what} skipped: ${summary.error?.message}`);
    else if (summary.error) log.error(facts, `${what} failed`);
    else if (summary.warnings.length > 0) log.warn(facts, `${what} done, with warnings`);
    else log.info(facts, `${what} done`);
  }
}

function whyNot(swept: Swept): { why?: string } {
  if (swept.found !== 'notNow') return {};
  return { why: swept.why === 'storeAway' ? 'its store is not there' : explainError(swept.why) };
}
