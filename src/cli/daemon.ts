import { type Logger, pino, stdTimeFunctions } from 'pino';
import { backup } from '../../jobs/backup.js';
import { recordSkipped } from '../../jobs/recorded-job.js';
import { type Recovered, recover } from '../../jobs/recover.js';
import { systemClock } from '../clock.js';
import { type House, storeNamed } from '../compose.js';
import type { Config } from '../config/config.js';
import { loadConfig } from '../config/load-config.js';
import { explainError } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import { withLocks } from '../exclusive-lock.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { Trigger } from '../history/records.js';
import { Scheduler, type SchedulerEvent } from '../schedule/scheduler.js';
import type { ScheduledGuest } from '../schedule/slot-book.js';
import { type Context, configOf } from './context.js';
import { withStartedHouse } from './start.js';

/** `umlsnap daemon`: runs the schedule in the foreground until SIGTERM or SIGINT; SIGHUP reads the config again. */
export async function daemonVerb(context: Context): Promise<ExitCode> {
  const config = await configOf(context);
  const log = openLog(context);
  const lock = {
    keys: [`daemon ${config.state}`],
    holder: `umlsnap daemon (pid ${process.pid})`,
    what: `The state directory ${config.state}`,
    wait: false,
  };
  return await withLocks(lock, () =>
    withStartedHouse(config, async (house, recovered) => {
      await recover(house, recovered);
      report(recovered, log);
      return await new Daemon(house, log).run();
    }),
  );
}

class Daemon {
  readonly #house: House;
  readonly #log: Logger;
  readonly #ending = new AbortController();
  readonly #scheduler: Scheduler;
  #config: Config;

  constructor(house: House, log: Logger) {
    this.#house = house;
    this.#log = log;
    this.#config = house.config;
    const { history } = house;
    this.#scheduler = new Scheduler({
      guests: scheduledGuests(house.config),
      concurrency: house.config.concurrency,
      clock: systemClock,
      loadLastSlot: async (guest) => toDate(await history.lastSlot(guest)),
      recordSlot: (guest, slot) => history.recordSlot(guest, slot.toISOString()),
      runJob: (guest, trigger, slot, signal) => this.#runJob(guest, trigger, slot, signal),
      report: (event) => this.#report(event),
      signal: this.#ending.signal,
    });
  }

  async run(): Promise<ExitCode> {
    const ended = new Promise<void>((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => {
          this.#log.info({ signal }, 'ending: what is under way is undone, guests are resumed first');
          this.#ending.abort(new UmlsnapError('Interrupted', { signal }));
          resolve();
        });
      }
    });
    process.on('SIGHUP', () => void this.#reload());
    await this.#scheduler.start();
    this.#log.info({ guests: scheduledGuests(this.#config).map(({ guest }) => guest) }, 'daemon runs');
    await ended;
    await this.#scheduler.stop();
    this.#log.info('daemon has ended');
    return exitCodes.done;
  }

  /** A bad config leaves the old one in force. Where our state lies can't change while we run. */
  async #reload(): Promise<void> {
    try {
      const config = await loadConfig(this.#config.file);
      if (config.state !== this.#config.state) {
        this.#log.error(
          'the state directory changed in the config: restart the daemon; the old config stays in force',
        );
        return;
      }
      this.#config = config;
      this.#scheduler.replaceGuests(scheduledGuests(config), config.concurrency);
      this.#log.info({ guests: scheduledGuests(config).map(({ guest }) => guest) }, 'config read again');
    } catch (error) {
      this.#log.error(`${explainError(error)}\nThe old config stays in force.`);
    }
  }

  async #runJob(guest: string, trigger: Trigger, slot: Date, signal: AbortSignal): Promise<void> {
    const config = this.#config.guests[guest];
    if (!config) return;
    const { history, stateDirectory } = this.#house;
    const log = this.#log.child({ guest, trigger, slot: slot.toISOString() });
    const order = {
      config,
      trigger,
      labels: config.labels,
      pinned: false,
      dryRun: false,
      wait: false,
      signal,
    };
    try {
      const store = storeNamed(this.#config, config.store);
      const summary = await backup(order, { stateDirectory, store, history });
      const { type: _, phases: __, ...facts } = summary;
      if (summary.error?.code === 'GuestMayBePaused') log.fatal(facts, 'GUEST MAY BE PAUSED');
      else if (summary.error) log.error(facts, 'backup failed');
      else if (summary.warnings.length > 0) log.warn(facts, 'backup done, with warnings');
      else log.info(facts, 'backup done');
    } catch (error) {
      if (!isError(error, 'Busy')) throw error;
      log.warn(`backup skipped: ${explainError(error)}`);
      await recordSkipped(history, { kind: 'backup', guest, trigger }, error);
    }
  }

  #report(event: SchedulerEvent): void {
    const { error, ...facts } = 'error' in event ? event : { ...event, error: undefined };
    if (error === undefined) this.#log.warn(facts, `schedule: ${event.type}`);
    else this.#log.error(facts, `schedule: ${event.type}: ${explainError(error)}`);
  }
}

function report(recovered: Recovered, log: Logger): void {
  for (const { guest, problem } of recovered.mayBePaused)
    log.fatal({ guest, problem }, 'GUEST MAY BE PAUSED');
  for (const problem of recovered.problems) log.warn(problem);
  const { resumed, closedJobs, discarded, indexed, forgotten } = recovered;
  log.info({ resumed, closedJobs, discarded, indexed, forgotten }, 'recovered');
}

function openLog({ options }: Context): Logger {
  const level = options.verbose ? 'debug' : options.quiet ? 'warn' : 'info';
  const settings = { level, base: null, timestamp: stdTimeFunctions.isoTime };
  const isForPeople = process.stderr.isTTY && !options.json;
  if (!isForPeople) return pino(settings, pino.destination({ dest: 2, sync: true }));
  return pino({
    ...settings,
    transport: { target: 'pino-pretty', options: { destination: 2, translateTime: 'SYS:HH:MM:ss' } },
  });
}

function scheduledGuests(config: Config): ScheduledGuest[] {
  return Object.values(config.guests).flatMap(({ name, schedule, timezone, catchUp, jitterMs }) =>
    schedule === undefined ? [] : [{ guest: name, schedule, timezone, catchUp, jitterMs }],
  );
}

function toDate(iso: string | null): Date | null {
  return iso === null ? null : new Date(iso);
}
