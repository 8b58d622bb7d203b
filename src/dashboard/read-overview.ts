import type { Config } from '../config/config.js';
import { reachableStores } from '../config/guest-named.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { guestInName } from '../store/layout.js';
import { Findings } from '../store/soundness.js';
import { groupBy } from './group-by.js';
import { type GuestOverview, type GuestRecords, overviewOf, type SeenState } from './guest-overview.js';

export type OverviewHistory = Pick<
  SqliteHistory,
  'recentBackups' | 'newestSound' | 'badFindings' | 'lastPauses' | 'openPauses' | 'lastSlots'
>;

/** How many jobs a row shows. */
export const recentJobs = 30;

/**
 * Reads what is known of guests, in as many queries for three hundred of them as for one.
 * @throws HistoryLocked, HistoryUnusable
 */
export async function readOverview(
  config: Pick<Config, 'guests' | 'stores'>,
  history: OverviewHistory,
  seenOf: (guest: string) => SeenState | null,
  now: Date,
): Promise<GuestOverview[]> {
  const guests = Object.values(config.guests);
  const stores = reachableStores(config);
  const names = guests.map(({ name }) => name);
  const recent = groupByGuest(await history.recentBackups(names, recentJobs));
  const newest = groupByGuest(await history.newestSound(guests, stores));
  const drilled = new Set(guests.flatMap(({ name, isDrilled }) => (isDrilled ? [name] : [])));
  const findings = new Findings(await history.badFindings({}));
  const unsound = groupBy(
    findings.unsound((guest) => drilled.has(guest), stores),
    ({ snapshot }) => guestInName(snapshot),
  );
  const pauses = groupByGuest(await history.lastPauses(names));
  const open = groupByGuest(await history.openPauses());
  const slots = groupByGuest(await history.lastSlots());
  return guests.map((guest) => {
    const { name } = guest;
    const records: GuestRecords = {
      recent: recent.get(name) ?? [],
      newest: newest.get(name)?.find(({ store }) => store === guest.store) ?? newest.get(name)?.[0] ?? null,
      unsound: unsound.get(name) ?? [],
      stores: (newest.get(name) ?? []).map(({ store }) => store),
      lastPause: pauses.get(name)?.[0] ?? null,
      openPause: open.get(name)?.[0] ?? null,
      lastSlot: slots.get(name)?.[0]?.slot ?? null,
    };
    return overviewOf(guest, records, seenOf(name), now);
  });
}

const groupByGuest = <T extends { guest: string }>(rows: readonly T[]): Map<string, T[]> =>
  groupBy(rows, ({ guest }) => guest);
