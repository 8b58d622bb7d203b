import { statfs } from 'node:fs/promises';
import type { Config } from '../../config/config.js';
import { reachableStores, storesToFill } from '../../config/guest-named.js';
import type { StoreGap } from '../../history/overview-queries.js';
import type { SqliteHistory } from '../../history/sqlite-history.js';
import type { JobTotal, PauseTotal } from '../../history/total-queries.js';
import type { GuestOverview } from '../guest-overview.js';

export type MetricsHistory = Pick<
  SqliteHistory,
  'jobTotals' | 'pauseTotals' | 'lastProven' | 'durations' | 'storeGaps'
>;

/** A store that is a directory of this host. */
export interface StoreRoom {
  store: string;
  freeBytes: number;
  sizeBytes: number;
}

/** All that a scrape tells. */
export interface Measured {
  guests: GuestOverview[];
  jobTotals: JobTotal[];
  pauseTotals: PauseTotal[];
  /** By guest, ISO 8601. */
  verifiedAt: Map<string, string>;
  drilledAt: Map<string, string>;
  /** Of the job that made a guest's newest snapshot, by guest. */
  durationMs: Map<string, number>;
  storeGaps: StoreGap[];
  rooms: StoreRoom[];
  isConfigRefused: boolean;
  startedAt: string;
  version: string;
}

/** Reads what a scrape tells beyond the overview. @throws HistoryLocked, HistoryUnusable */
export async function gather(
  guests: GuestOverview[],
  config: Pick<Config, 'stores'>,
  history: MetricsHistory,
): Promise<Omit<Measured, 'rooms' | 'isConfigRefused' | 'startedAt' | 'version'>> {
  const names = guests.map(({ guest }) => guest);
  const atByGuest = async (kind: 'verify' | 'drill') =>
    new Map((await history.lastProven(names, kind)).map(({ guest, at }) => [guest, at]));
  const jobByGuest = new Map(guests.map(({ guest, newest }) => [guest, newest?.job ?? null]));
  const jobs = [...jobByGuest.values()].filter((job) => job !== null);
  const took = new Map(
    (await history.durations(jobs)).map(({ job, startedAt, finishedAt }) => [
      job,
      Date.parse(finishedAt) - Date.parse(startedAt),
    ]),
  );
  const durationMs = new Map<string, number>();
  for (const [guest, job] of jobByGuest) {
    const ms = job === null ? undefined : took.get(job);
    if (ms !== undefined) durationMs.set(guest, ms);
  }
  return {
    ...{ guests, durationMs, verifiedAt: await atByGuest('verify'), drilledAt: await atByGuest('drill') },
    storeGaps: await history.storeGaps(
      guests.flatMap((guest) => storesToFill(guest.config)),
      reachableStores(config),
    ),
    ...{ jobTotals: await history.jobTotals(), pauseTotals: await history.pauseTotals() },
  };
}

const statfsLimitMs = 2000;

/**
 * How full the stores are that are directories. One that hangs is asked once, and has no figure until it answers: each asking
 * holds a thread, of which there are few.
 */
export class StoreRooms {
  readonly #asked = new Map<string, Promise<StoreRoom | undefined>>();

  async measure(stores: readonly { name: string; path: string }[]): Promise<StoreRoom[]> {
    let stopWaiting = () => {};
    const patience = new Promise<undefined>((resolve) => {
      const timer = setTimeout(resolve, statfsLimitMs, undefined);
      stopWaiting = () => clearTimeout(timer);
    });
    const rooms = await Promise.all(
      stores.map(({ name, path }) => Promise.race([this.#ask(name, path), patience])),
    );
    stopWaiting();
    return rooms.filter((room) => room !== undefined);
  }

  #ask(store: string, path: string): Promise<StoreRoom | undefined> {
    const underway = this.#asked.get(path);
    if (underway) return underway;
    const asked = statfs(path)
      .then(({ bavail, blocks, bsize }) => ({ store, freeBytes: bavail * bsize, sizeBytes: blocks * bsize }))
      // A store that is not there has no room, and its absence shows.
      .catch(() => undefined)
      .finally(() => this.#asked.delete(path));
    this.#asked.set(path, asked);
    return asked;
  }
}

/** The stores of guests that are directories of this host. */
export function directoriesOf(stores: Record<string, { name: string; type: string; path?: string }>): {
  name: string;
  path: string;
}[] {
  return Object.values(stores).flatMap(({ name, type, path }) =>
    type !== 'restic' && path !== undefined ? [{ name, path }] : [],
  );
}
