import type { Logger } from 'pino';
import { recover } from '../../jobs/recover.js';
import { systemClock } from '../clock.js';
import type { App } from '../compose.js';
import type { Config } from '../config/config.js';
import { asDaemon, pidOfDaemon } from '../control/daemon-lock.js';
import { JobRegistry } from '../control/job-registry.js';
import { RequestDispatcher } from '../control/request-dispatcher.js';
import { formatSettings, type LiveSettings } from '../control/settings.js';
import { explainError } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { withLocks } from '../locks/exclusive-lock.js';
import type { ScheduledEntry } from '../schedule/schedule-state.js';
import { Scheduler, type SchedulerEvent } from '../schedule/scheduler.js';
import { type GlobalJob, globalEntry } from '../schedule/timetable.js';
import { withStartedApp } from '../start.js';
import { CancellableJobs } from './cancellable-jobs.js';
import { DaemonAlerts } from './daemon-alerts.js';
import { type ControlOptions, logDispatcherEvent, withControl } from './daemon-control.js';
import { DaemonJobs } from './daemon-jobs.js';
import { logRecovered } from './daemon-log.js';
import { GuestListeners } from './guest-listeners.js';
import { LiveConfig } from './live-config.js';
import { ServiceManager } from './service-manager.js';
import { SweepTimer } from './sweep-timer.js';

/**
 * Is the daemon of this config until SIGTERM or SIGINT.
 * @param readAt from before the config was read
 * @throws DaemonRuns
 */
export async function runDaemon(
  config: Config,
  readAt: Date,
  settings: LiveSettings,
  log: Logger,
): Promise<ExitCode> {
  return await asOnlyDaemon(config.state, () =>
    withStartedApp(config, async (app, recovered) => {
      await recover(app, recovered);
      logRecovered(recovered, log, true);
      return await new Daemon(app, readAt, settings, log).run();
    }),
  );
}

/** @throws DaemonRuns */
async function asOnlyDaemon<T>(state: string, use: () => Promise<T>): Promise<T> {
  let isOurs = false;
  try {
    return await withLocks(asDaemon(state), async () => {
      isOurs = true;
      return await use();
    });
  } catch (error) {
    if (isOurs || !isError(error, 'Busy')) throw error;
    throw new UmlsnapError('DaemonRuns', { state, pid: pidOfDaemon(error.facts.holder) }, error);
  }
}

class Daemon {
  readonly #log: Logger;
  readonly #settings: LiveSettings;
  readonly #ending = new AbortController();
  readonly #registry = new JobRegistry();
  readonly #cancellableJobs = new CancellableJobs();
  readonly #history: App['history'];
  readonly #dispatcher: RequestDispatcher;
  readonly #scheduler: Scheduler;
  readonly #listeners: GuestListeners;
  readonly #alerts: DaemonAlerts;
  readonly #sweeps: SweepTimer;
  readonly #manager: ServiceManager;
  readonly #config: LiveConfig;

  constructor(app: App, readAt: Date, settings: LiveSettings, log: Logger) {
    this.#log = log;
    this.#settings = settings;
    this.#config = new LiveConfig(app.config, readAt);
    const { history } = app;
    this.#history = history;
    const config = this.#config.get;
    const notificationsOf = (guest: string) => this.#listeners.sourceOf(guest);
    const isAtWork = (guest: string) => this.#registry.running().some((job) => job.guest === guest);
    this.#alerts = new DaemonAlerts({ history, log, config, isAtWork });
    const jobs = new DaemonJobs({
      ...{
        history,
        settings,
        log,
        registry: this.#registry,
        cancellableJobs: this.#cancellableJobs,
        notificationsOf,
      },
      alerts: this.#alerts,
      config: () => this.#listeners.informed(config()),
    });
    this.#scheduler = new Scheduler({
      entries: timetableOf(app.config),
      concurrency: app.config.concurrency,
      clock: systemClock,
      loadLastSlot: async (name) => toDate(await history.lastSlot(name)),
      recordSlot: (name, slot) => history.recordSlot(name, slot.toISOString()),
      runJob: (name, trigger, slot, signal) => jobs.runScheduled({ name, trigger, slot }, signal),
      report: (event) => this.#report(event),
      signal: this.#ending.signal,
    });
    this.#dispatcher = new RequestDispatcher({
      settings: () => settings.current,
      carryOut: (command, work) => jobs.carryOut(command, work),
      report: (event) => logDispatcherEvent(log, event),
    });
    this.#listeners = new GuestListeners({ dispatcher: this.#dispatcher, history, log, config });
    this.#sweeps = new SweepTimer(settings, () => jobs.sweep(this.#ending.signal));
    settings.watch((now) => log.info(now, 'settings changed'));
    this.#manager = new ServiceManager(process.env, (problem) =>
      log.error(`the service manager can't be told how we are: ${problem}`),
    );
  }

  async run(): Promise<ExitCode> {
    const ended = this.#untilSignalled();
    process.on('SIGHUP', () => void this.#reload());
    const [dispatcher, registry, settings, log] = [
      this.#dispatcher,
      this.#registry,
      this.#settings,
      this.#log,
    ];
    const control = { dispatcher, registry, settings, log, config: this.#config };
    await this.#withDashboard(control, async () => {
      await this.#listeners.follow();
      await this.#scheduler.start();
      this.#sweeps.start();
      this.#alerts.start();
      const scheduled = timetableOf(this.#config.get()).map(({ name }) => name);
      log.info({ scheduled, settings: formatSettings(settings.current) }, 'daemon runs');
      this.#manager.ready(this.#scheduleText());
      const because = await ended;
      await Promise.all([this.#scheduler.stop(), this.#dispatcher.close(because), this.#sweeps.stop()]);
      // Jobs that are being undone thaw their guests by the agents, whose answers come by our listeners.
      await this.#listeners.close();
      await this.#alerts.stop();
    });
    log.info('daemon has ended');
    return exitCodes.done;
  }

  async #withDashboard(control: ControlOptions, use: () => Promise<void>): Promise<void> {
    const { dashboard } = this.#config.get();
    if (dashboard === null) return await withControl(control, use);
    const { DaemonDashboard } = await import('./daemon-dashboard.js');
    const options = { ...control, history: this.#history, cancellableJobs: this.#cancellableJobs };
    const pages = new DaemonDashboard(options, dashboard);
    await pages.with(() => withControl({ ...control, extend: pages.extend }, use));
  }

  /** Until somebody wants us to end; what is under way is given up. */
  #untilSignalled(): Promise<UmlsnapError> {
    return new Promise((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => {
          this.#log.info({ signal }, 'ending: what is under way is undone, guests are resumed first');
          this.#manager.stopping('Undoes what is under way; guests are resumed first.');
          const because = new UmlsnapError('Interrupted', { signal });
          this.#ending.abort(because);
          resolve(because);
        });
      }
    });
  }

  async #reload(): Promise<void> {
    this.#manager.reloading();
    await this.#readConfig().finally(() => this.#manager.ready(this.#scheduleText()));
  }

  #scheduleText(): string {
    const names = timetableOf(this.#config.get()).map(({ name }) => name);
    return names.length === 0 ? 'Nothing has a schedule.' : `Runs the schedule of ${names.join(', ')}.`;
  }

  /** A bad config leaves the old one in force, and whoever looks is shown so until a good one is read. */
  async #readConfig(): Promise<void> {
    const before = this.#config.refused;
    if (await this.#config.readAgain()) {
      const config = this.#config.get();
      const timetable = timetableOf(config);
      this.#scheduler.replaceEntries(timetable, config.concurrency);
      await this.#listeners.follow();
      this.#log.info({ scheduled: timetable.map(({ name }) => name) }, 'config read again');
    } else this.#log.error(`${this.#config.refused?.problem}\nThe old config stays in force.`);
    this.#alerts.configWasRead(this.#config.get().file, before, this.#config.refused);
  }

  #report(event: SchedulerEvent): void {
    const { error, ...facts } = 'error' in event ? event : { ...event, error: undefined };
    if (error === undefined) this.#log.warn(facts, `schedule: ${event.type}`);
    else this.#log.error(facts, `schedule: ${event.type}: ${explainError(error)}`);
  }
}

function toDate(iso: string | null): Date | null {
  return iso === null ? null : new Date(iso);
}

/** All that a daemon of this config runs by itself at its time: backups of guests, and global jobs. */
function timetableOf(config: Config): ScheduledEntry[] {
  const backups = Object.values(config.guests).flatMap(({ name, schedule, timezone, catchUp, jitterMs }) =>
    schedule === undefined ? [] : [{ name, schedule, timezone, catchUp, jitterMs }],
  );
  return [...backups, ...globalJob('verify', config.verify), ...globalJob('drill', config.drill)];
}

/** A run that was missed is made up for once: nobody stands still for it. */
function globalJob(job: GlobalJob, { schedule, timezone }: GlobalSchedule): ScheduledEntry[] {
  return schedule === null
    ? []
    : [{ name: globalEntry(job), schedule, timezone, catchUp: true, jitterMs: 0 }];
}

interface GlobalSchedule {
  /** null: by hand only. */
  schedule: string | null;
  timezone: string;
}
