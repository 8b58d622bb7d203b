import type { Config, GuestConfig } from '../config/config.js';
import { guestNamed, reachableStores } from '../config/guest-named.js';
import type { JobRegistry } from '../control/job-registry.js';
import type { RequestDispatcher } from '../control/request-dispatcher.js';
import { UmlsnapError } from '../errors.js';
import type { JobWithDetails } from '../history/job-queries.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { CachedRead } from './cached-read.js';
import type { GuestOverview, SeenState } from './guest-overview.js';
import { GuestWatch } from './guest-watch.js';
import { type JobProgress, LiveFeed, progressOf } from './live-feed.js';
import { exposition } from './metrics/exposition.js';
import { directoriesOf, gather, StoreRooms } from './metrics/gather.js';
import { type GuestPageFacts, jobsPerPage } from './pages/guest-page.js';
import { PendingActions } from './pending-actions.js';
import { readOverview } from './read-overview.js';

export interface DashboardParts {
  /** As it is in force now. */
  config(): Config;
  history: DashboardHistory;
  registry: JobRegistry;
  dispatcher: RequestDispatcher;
  /** See GuestWatch. */
  look(guest: GuestConfig): Promise<SeenState>;
  isAtWork(guest: string): Promise<boolean>;
  /** @throws NoSuchSnapshot, SnapshotDamaged and what speaks against the store */
  pin(snapshot: string, pinned: boolean): Promise<void>;
  /** @returns false: no such job is under way in this process */
  cancel(job: string): boolean;
  /** null: the config was good when it was last read. */
  refusedReload(): { at: string } | null;
  hostName: string;
  version: string;
  startedAt: string;
  /** For what no page can tell; must not throw. */
  onError(error: unknown): void;
}

export type DashboardHistory = Pick<
  SqliteHistory,
  | 'recentBackups'
  | 'newestSound'
  | 'badFindings'
  | 'lastPauses'
  | 'openPauses'
  | 'lastSlots'
  | 'jobTotals'
  | 'pauseTotals'
  | 'lastProven'
  | 'durations'
  | 'storeGaps'
  | 'snapshots'
  | 'pausesOf'
  | 'sizesOf'
  | 'jobs'
  | 'job'
>;

/** How long a page of all guests is true, for those who look after the first one. */
const keepOverviewMs = 1000;
/** What a page waits for looks at guests that nobody has looked at yet; of a crowd it shows what is known, and more as it comes. */
const firstLookMs = 250;
const crowd = 20;
const plottedAtMost = 500;
const timelinesShown = 10;

/** What the pages and the metrics show, and who keeps it true. Nothing here knows of HTTP. */
export class Dashboard {
  readonly actions: PendingActions;
  readonly feed: LiveFeed;
  readonly #parts: DashboardParts;
  readonly #watch: GuestWatch;
  readonly #overview: CachedRead<GuestOverview[]>;
  readonly #rooms = new StoreRooms();

  constructor(parts: DashboardParts) {
    this.#parts = parts;
    const { config, registry, dispatcher, look, isAtWork, onError } = parts;
    this.#watch = new GuestWatch({
      ...{ look, isAtWork, onError, guests: () => Object.values(config().guests) },
      onChange: (guest) => this.#changed(guest),
    });
    this.#overview = new CachedRead(() => this.#readOverview(), keepOverviewMs);
    // Before the feed tells anybody to look again.
    const forget = () => this.#overview.forget();
    registry.watch({ begun: forget, said: () => {}, ended: forget });
    this.feed = new LiveFeed(registry, () => void this.#watch.want());
    this.actions = new PendingActions(dispatcher, () => forget());
  }

  /** Since when the config that is in force is not that of its file, because that was refused; null: it is. */
  get refusedSince(): string | null {
    return this.#parts.refusedReload()?.at ?? null;
  }

  get hostName(): string {
    return this.#parts.hostName;
  }

  /** All guests. The first to look waits a moment for looks at the guests themselves. */
  async overview(): Promise<GuestOverview[]> {
    const looked = this.#watch.want();
    if (Object.keys(this.#parts.config().guests).length > crowd) return await this.#overview.get();
    let stopWaiting = () => {};
    const patience = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, firstLookMs);
      stopWaiting = () => clearTimeout(timer);
    });
    await Promise.race([looked, patience]);
    stopWaiting();
    return await this.#overview.get();
  }

  /** @throws NoSuchGuest */
  async guest(name: string, offset: number): Promise<Omit<GuestPageFacts, 'action'>> {
    const { config, history } = this.#parts;
    const { store } = guestNamed(config(), name);
    const about = (await this.overview()).find(({ guest }) => guest === name);
    if (!about) throw new UmlsnapError('NoSuchGuest', { guest: name, known: [] });
    const found = await history.jobs({ guest: name, limit: jobsPerPage + 1, offset });
    const backups = await history.jobs({ guest: name, kind: 'backup', limit: timelinesShown });
    const detailed: JobWithDetails[] = [];
    for (const { job } of backups) {
      const details = await history.job(job);
      if (details) detailed.push(details);
    }
    const reachable = reachableStores(config());
    const known = await history.snapshots({ guest: name });
    const there = known.filter((record) => reachable.includes(record.store));
    return {
      ...{ about, detailed, progress: this.progressOf(name) },
      snapshots: there.map((record) => ({
        ...record,
        storedBytes: config().stores[record.store]?.type === 'restic' ? null : record.storedBytes,
      })),
      pauses: await history.pausesOf(name, plottedAtMost),
      sizes: await history.sizesOf({ guest: name, store }, plottedAtMost),
      jobs: { shown: found.slice(0, jobsPerPage), offset, hasMore: found.length > jobsPerPage },
    };
  }

  /** @throws NoSuchJob */
  async job(name: string): Promise<{ job: JobWithDetails; progress: JobProgress | undefined }> {
    const job = await this.#parts.history.job(name);
    if (!job) throw new UmlsnapError('NoSuchJob', { job: name });
    return { job, progress: this.#progress((running) => running === name) };
  }

  /** How far the job is that this process has at work on a guest. */
  progressOf(guest: string): JobProgress | undefined {
    return this.#progress((_, of) => of === guest);
  }

  /** @throws NoSuchGuest */
  requireGuest(name: string): void {
    guestNamed(this.#parts.config(), name);
  }

  pin(snapshot: string, pinned: boolean): Promise<void> {
    return this.#parts.pin(snapshot, pinned);
  }

  /** @throws NoSuchJob */
  cancel(job: string): void {
    if (!this.#parts.cancel(job)) throw new UmlsnapError('NoSuchJob', { job });
  }

  async metrics(): Promise<string> {
    const { config, history, version, startedAt } = this.#parts;
    const found = await gather(await this.#overview.get(), config(), history);
    const rooms = await this.#rooms.measure(directoriesOf(config().stores));
    return await exposition({
      ...found,
      rooms,
      isConfigRefused: this.refusedSince !== null,
      version,
      startedAt,
    });
  }

  async close(): Promise<void> {
    this.feed.close();
    await this.#watch.close();
  }

  #readOverview(): Promise<GuestOverview[]> {
    const { config, history } = this.#parts;
    const seenOf = (guest: string) => this.#watch.seen(guest);
    return readOverview(config(), history, seenOf, new Date());
  }

  #progress(isIt: (job: string, guest: string | null) => boolean): JobProgress | undefined {
    const { registry } = this.#parts;
    const running = registry.running().find(({ job, guest }) => isIt(job, guest));
    return running && progressOf(running, registry.lastOf(running.job));
  }

  #changed(guest: string): void {
    this.#overview.forget();
    this.feed.changed(guest);
  }
}
