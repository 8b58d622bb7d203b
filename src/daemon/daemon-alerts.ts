import type { Logger } from 'pino';
import { AlertPost } from '../alerts/alert-post.js';
import {
  alertOfReload,
  alertsOfJob,
  alertsOfVerification,
  type EndedJob,
  type EndedVerification,
  isOfHalted,
  missedSlotOf,
  overdueAlert,
  stoppedAlert,
} from '../alerts/decide-alerts.js';
import { StoreLagWatch } from '../alerts/store-lag.js';
import type { Config, GuestConfig } from '../config/config.js';
import { reachableStores, storesToFill } from '../config/guest-named.js';
import type { RefusedReload } from '../control/daemon-status.js';
import { explainError } from '../error-text.js';
import { conditionOf } from '../guest/guest-condition.js';
import { backupsThatTell, levelsReached } from '../history/levels.js';
import type { Consistency, JobRecord } from '../history/records.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import type { JobSummary } from '../job/recorded-job.js';

export interface DaemonAlertsOptions {
  history: Pick<SqliteHistory, 'jobs' | 'storeGaps'>;
  log: Logger;
  /** As it is in force now. */
  config(): Config;
  /** Whether a job of ours is at work on this guest. */
  isAtWork(guest: string): boolean;
}

const watchEveryMs = 60_000;
const stoppedForMs = 5 * 60_000;
/** So far back a failure is told to be the first, or not. */
const maxJobs = 1000;
const jobsAtOnce = 20;
const closeLimitMs = 10_000;

/** Tells those whom the config names of what a daemon's jobs come to, and of what should have happened and did not. */
export class DaemonAlerts {
  readonly #options: DaemonAlertsOptions;
  readonly #post: AlertPost;
  readonly #since = new Date();
  /** Guests of whom a missed slot was told. */
  readonly #toldOverdue = new Set<string>();
  readonly #storeLag = new StoreLagWatch();
  readonly #stoppedSince = new Map<string, { at: Date; isTold: boolean }>();
  #timer: NodeJS.Timeout | undefined;
  #watching: Promise<void> | undefined;

  constructor(options: DaemonAlertsOptions) {
    this.#options = options;
    this.#post = new AlertPost({
      ways: () => options.config().alerts,
      report: (error) => options.log.error(explainError(error)),
    });
  }

  /** A scheduled backup begins. */
  backupBegins(guest: string): void {
    this.#post.ping('start', `umlsnap: backup of ${guest}`);
  }

  /** A job has ended, and stands in the history. Never fails the job. */
  async jobEnded(summary: JobSummary, { isScheduled }: { isScheduled: boolean }): Promise<void> {
    const { guest, kind, job } = summary;
    const { alerts } = this.#options.config();
    // A dry run proves nothing, neither that backups work nor that they don't.
    if (alerts.length === 0 || summary.dryRun === true) return;
    try {
      if (guest === null) {
        if (kind === 'verify') this.#verificationEnded(summary);
        return;
      }
      if (kind === 'backup' && isScheduled) this.#pingEnd(summary);
      const before = await this.#earlierJobs({ guest, kind, job });
      const finishedAt = new Date().toISOString();
      const { status, error, warnings } = summary;
      const level = levelOf(summary);
      for (const alert of alertsOfJob(
        { job, kind, guest, status, finishedAt, error, warnings, level },
        before,
      ))
        this.#post.send(alert);
    } catch (error) {
      this.#options.log.error({ guest, job }, `nobody could be told of a job: ${explainError(error)}`);
    }
  }

  /** As far back as to one that did not fail, and to enough that tell their level: a few at once, since each is read whole. */
  async #earlierJobs({ guest, kind, job }: Pick<JobSummary, 'kind' | 'job'> & { guest: string }) {
    const earlier: EndedJob[] = [];
    for (let offset = 0; offset < maxJobs; offset += jobsAtOnce) {
      const records = await this.#options.history.jobs({ guest, kind, limit: jobsAtOnce, offset });
      const others = records.filter((one) => one.job !== job && one.summary?.dryRun !== true);
      earlier.push(...others.map(endedOf));
      const isEnough =
        kind === 'backup'
          ? earlier.filter(({ level }) => level !== null).length >= backupsThatTell
          : earlier.some(({ status }) => status === 'success' || status === 'warning');
      if (isEnough || records.length < jobsAtOnce) break;
    }
    return earlier;
  }

  #verificationEnded({ job, error, problems }: JobSummary): void {
    const found = { job, error, finishedAt: new Date().toISOString() };
    const ended = { ...found, problems: problems as EndedVerification['problems'] };
    for (const alert of alertsOfVerification(ended)) this.#post.send(alert);
  }

  /** Once when the first of them is refused, and once when a good one has been read. */
  configWasRead(file: string, before: RefusedReload | null, refused: RefusedReload | null): void {
    const alert = alertOfReload({ file, now: new Date() }, before, refused);
    if (alert) this.#post.send(alert);
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#watching ??= this.watch(new Date()).finally(() => {
        this.#watching = undefined;
      });
    }, watchEveryMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#watching;
    await this.#post.close(closeLimitMs);
  }

  /** What nobody's end would tell: a backup that did not begin, a guest that somebody has stopped and forgotten. */
  async watch(now: Date): Promise<void> {
    const { config, log } = this.#options;
    const isWanted = (kind: string) =>
      config().alerts.some((way) => way.by !== 'ping' && (way.on as string[]).includes(kind));
    const guests = Object.values(config().guests);
    if (isWanted('storeLag')) await this.#watchStores(guests, now);
    for (const guest of guests) {
      try {
        if (isWanted('overdue')) await this.#watchSchedule(guest, now);
        if (isWanted('stopped')) await this.#watchState(guest, now);
      } catch (error) {
        log.warn({ guest: guest.name }, `could not be watched: ${explainError(error)}`);
      }
    }
  }

  #pingEnd({ status, error, guest }: JobSummary): void {
    if (status === 'success' || status === 'warning')
      this.#post.ping('success', `umlsnap: backup of ${guest}`);
    else if (status === 'failed') this.#post.ping('fail', error?.message ?? '');
  }

  async #watchSchedule({ name: guest, schedule, timezone, jitterMs }: GuestConfig, now: Date): Promise<void> {
    if (schedule === undefined) return;
    const jobs = await this.#options.history.jobs({ guest, kind: 'backup', limit: 20 });
    const last = jobs.find((job) => job.status !== 'skipped' || isOfHalted(job));
    const since = last ? new Date(last.startedAt) : this.#since;
    const expected = { guest, schedule, timezone, jitterMs };
    const slot = missedSlotOf(expected, since, now);
    if (slot === null) {
      this.#toldOverdue.delete(guest);
      return;
    }
    // Once for all that are missed in a row.
    if (this.#toldOverdue.has(guest)) return;
    this.#toldOverdue.add(guest);
    this.#post.send(overdueAlert(expected, slot, now));
  }

  async #watchStores(guests: GuestConfig[], now: Date): Promise<void> {
    try {
      const gaps = await this.#options.history.storeGaps(
        guests.flatMap(storesToFill),
        reachableStores(this.#options.config()),
      );
      for (const alert of this.#storeLag.take(gaps, now)) this.#post.send(alert);
    } catch (error) {
      this.#options.log.warn(`the stores could not be watched: ${explainError(error)}`);
    }
  }

  async #watchState(guest: GuestConfig, now: Date): Promise<void> {
    const isStopped = !this.#options.isAtWork(guest.name) && (await conditionOf(guest)).state === 'stopped';
    if (!isStopped || this.#options.isAtWork(guest.name)) {
      this.#stoppedSince.delete(guest.name);
      return;
    }
    const seen = this.#stoppedSince.get(guest.name) ?? { at: now, isTold: false };
    this.#stoppedSince.set(guest.name, seen);
    if (seen.isTold || now.getTime() - seen.at.getTime() < stoppedForMs) return;
    seen.isTold = true;
    this.#post.send(stoppedAlert(guest.name, seen.at, now));
  }
}

function endedOf({ finishedAt, startedAt, guest, summary, ...job }: JobRecord): EndedJob {
  const level = levelOf(summary ?? {});
  return { ...job, guest: guest ?? '', finishedAt: finishedAt ?? startedAt, level };
}

/** Of the snapshot that a backup took. */
function levelOf({ snapshot, consistency }: Record<string, unknown>): Consistency | null {
  if (snapshot === null) return null;
  return levelsReached([{ kind: 'backup', summary: { consistency } }])[0] ?? null;
}
