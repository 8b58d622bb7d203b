import type { Kysely, RawBuilder } from 'kysely';
import { sql } from 'kysely';
import { isSoundRow } from './findings-queries.js';
import type { JobStatus, SnapshotRecord } from './records.js';
import { snapshotRecord } from './rows.js';
import type { PausesTable, SnapshotsTable, Tables } from './tables.js';

/**
 * The newest of each of many guests, one query each however many guests there are. Every one walks indexes from their
 * ends, so that it takes no longer when the history grows.
 */

/** A backup, as far as a row of all guests shows it. */
export interface RecentJob {
  guest: string;
  job: string;
  status: JobStatus;
  startedAt: string;
  /** It was skipped, for the guest was halted. */
  isHalted: boolean;
}

/** The newest backups of each guest, oldest first; if none of them was let run to its end, then before them the last that was. */
export async function selectRecentBackups(
  db: Kysely<Tables>,
  guests: readonly string[],
  perGuest: number,
): Promise<RecentJob[]> {
  if (guests.length === 0) return [];
  const oldest = sql`(select k.started_at from jobs k where k.guest = g.guest and k.kind = 'backup'
    order by k.started_at desc limit 1 offset ${sql.lit(perGuest - 1)})`;
  // The index has its status: a guest that was halted for years is walked through there.
  const lastEnded = sql`(select k.started_at from jobs k where k.guest = g.guest and k.kind = 'backup'
    and k.status not in ('running', 'skipped') order by k.started_at desc limit 1)`;
  const isHalted = sql`case when j.status = 'skipped' and json_extract(j.error, '$.code') = 'GuestHalted' then 1 else 0 end`;
  // One row for each guest: nine thousand rows take their time to come out of a database.
  const { rows } = await sql<{ guest: string; jobs: string }>`
    with ${guestList(guests)}
    select j.guest,
      string_agg(j.status || ' ' || j.started_at || ' ' || j.job || ' ' || ${isHalted}, ',' order by j.started_at, j.job) as jobs
    from g join jobs j on j.guest = g.guest and j.kind = 'backup' and (j.started_at >= coalesce(${oldest}, '') or j.started_at = ${lastEnded})
    group by j.guest`.execute(db);
  return rows.flatMap(({ guest, jobs }) =>
    jobs.split(',').map((one): RecentJob => {
      const [status = '', startedAt = '', job = '', halted] = one.split(' ');
      return { guest, job, status: status as JobStatus, startedAt, isHalted: halted === '1' };
    }),
  );
}

/** A guest, and whether the config wants drills of it. */
export interface AskedGuest {
  name: string;
  isDrilled: boolean;
}

/** The newest sound snapshot of ours of each guest that is in these stores, once for each of them that has a sound copy of it. */
export async function selectNewestSound(
  db: Kysely<Tables>,
  guests: readonly AskedGuest[],
  stores: readonly string[],
): Promise<SnapshotRecord[]> {
  if (guests.length === 0 || stores.length === 0) return [];
  const asked = guests.map(({ name, isDrilled }) => sql`(${name}, ${sql.lit(isDrilled ? 1 : 0)})`);
  const isGood = (row: 's' | 'n') =>
    sql`${sql.ref(`${row}.store`)} in (${sql.join(stores)}) and ${isSoundRow(row, sql`g.is_drilled`)}`;
  const { rows } = await sql<SnapshotsTable>`
    with g(guest, is_drilled) as (values ${sql.join(asked)})
    select s.* from g
    join snapshots s on s.guest = g.guest and s.own = 1 and s.removed_at is null and s.taken_at = (
      select n.taken_at from snapshots n
      where n.guest = g.guest and n.own = 1 and n.removed_at is null and ${isGood('n')}
      order by n.taken_at desc limit 1)
    where ${isGood('s')}`.execute(db);
  return rows.map(snapshotRecord);
}

export interface LastPause {
  guest: string;
  pausedMs: number;
  budgetMs: number;
  intendedAt: string;
}

/** The newest pause of each guest that somebody measured. */
export async function selectLastPauses(db: Kysely<Tables>, guests: readonly string[]): Promise<LastPause[]> {
  if (guests.length === 0) return [];
  const { rows } = await sql<PausesTable & { paused_ms: number }>`
    with ${guestList(guests)}
    select p.guest, p.paused_ms, p.budget_ms, p.intended_at from g
    join pauses p on p.guest = g.guest and p.pause = (
      select n.pause from pauses n where n.guest = g.guest and n.paused_ms is not null
      order by n.intended_at desc limit 1)`.execute(db);
  return rows.map(({ guest, paused_ms, budget_ms, intended_at }) => ({
    ...{ guest, pausedMs: paused_ms, budgetMs: budget_ms, intendedAt: intended_at },
  }));
}

export interface GuestInstant {
  guest: string;
  at: string;
}

/** When each guest last had a verification, or a boot of a snapshot, that found it good. */
export async function selectLastProven(
  db: Kysely<Tables>,
  guests: readonly string[],
  kind: 'verify' | 'drill',
): Promise<GuestInstant[]> {
  if (guests.length === 0) return [];
  const { rows } = await sql<GuestInstant>`
    with ${guestList(guests)}
    select j.guest, j.finished_at as at from g
    join jobs j on j.job = (
      select n.job from jobs n where n.guest = g.guest and n.kind = ${sql.lit(kind)}
      and n.status in ('success', 'warning') order by n.started_at desc limit 1)`.execute(db);
  return rows;
}

/** How long the jobs took that made these snapshots, by their names; of those that have ended. */
export async function selectDurations(
  db: Kysely<Tables>,
  jobs: readonly string[],
): Promise<{ job: string; startedAt: string; finishedAt: string }[]> {
  if (jobs.length === 0) return [];
  const rows = await db
    .selectFrom('jobs')
    .select(['job', 'started_at', 'finished_at'])
    .where('job', 'in', jobs)
    .execute();
  return rows.flatMap(({ job, started_at, finished_at }) =>
    finished_at === null ? [] : [{ job, startedAt: started_at, finishedAt: finished_at }],
  );
}

export interface PlottedPause {
  job: string;
  intendedAt: string;
  pausedMs: number;
  budgetMs: number;
}

/** A guest's newest measured pauses, oldest first. */
export async function selectPausesOf(
  db: Kysely<Tables>,
  guest: string,
  limit: number,
): Promise<PlottedPause[]> {
  const rows = await db
    .selectFrom('pauses')
    .select(['job', 'intended_at', 'paused_ms', 'budget_ms'])
    .where('guest', '=', guest)
    .where('paused_ms', 'is not', null)
    .orderBy('intended_at', 'desc')
    .limit(limit)
    .execute();
  return rows.reverse().map(({ job, intended_at, paused_ms, budget_ms }) => ({
    ...{ job, intendedAt: intended_at, pausedMs: paused_ms ?? 0, budgetMs: budget_ms },
  }));
}

export interface PlottedSize {
  takenAt: string;
  sizeBytes: number;
  storedBytes: number;
}

/** The sizes of a guest's newest snapshots of ours in a store, those that were removed since included, oldest first. */
export async function selectSizesOf(
  db: Kysely<Tables>,
  { guest, store }: { guest: string; store: string },
  limit: number,
): Promise<PlottedSize[]> {
  const rows = await db
    .selectFrom('snapshots')
    .select(['taken_at', 'size_bytes', 'stored_bytes'])
    .where('guest', '=', guest)
    .where('store', '=', store)
    .where('own', '=', 1)
    .orderBy('taken_at', 'desc')
    .limit(limit)
    .execute();
  return rows.reverse().map(({ taken_at, size_bytes, stored_bytes }) => ({
    ...{ takenAt: taken_at, sizeBytes: size_bytes, storedBytes: stored_bytes },
  }));
}

/** How far a store is behind a guest's other stores, what waits for it in its staging included. */
export interface StoreGap {
  guest: string;
  store: string;
  /** Of its newest snapshot there; null: it has none. */
  newestAt: string | null;
  /** The guest's snapshots that are newer than that, and lie elsewhere. */
  missed: number;
  /** When the first of them was taken. */
  missedSince: string | null;
}

/** For each of these pairs, by what lies in these stores. */
export async function selectStoreGaps(
  db: Kysely<Tables>,
  pairs: readonly { guest: string; store: string }[],
  stores: readonly string[],
): Promise<StoreGap[]> {
  if (pairs.length === 0 || stores.length === 0) return [];
  const rows = pairs.map(({ guest, store }) => sql`(${guest}, ${store})`);
  const result = await sql<{
    guest: string;
    store: string;
    at: string | null;
    missed: number;
    since: string | null;
  }>`
    with p(guest, store) as (values ${sql.join(rows)}),
    n(guest, store, at) as (select p.guest, p.store, (
      select s.taken_at from snapshots s where s.guest = p.guest and s.store = p.store
      and s.own = 1 and s.removed_at is null
      order by s.taken_at desc limit 1) from p)
    select n.guest, n.store, n.at, count(distinct s.snapshot) as missed, min(s.taken_at) as since from n
    left join snapshots s on s.guest = n.guest and s.own = 1 and s.removed_at is null and s.taken_at > coalesce(n.at, '')
      and s.store in (${sql.join(stores)})
    group by n.guest, n.store, n.at`.execute(db);
  return result.rows.map(({ guest, store, at, missed, since }) => ({
    ...{ guest, store, newestAt: at, missed: Number(missed), missedSince: since },
  }));
}

/** A table `g` of these guests, in SQL that SQLite and PostgreSQL share. */
function guestList(guests: readonly string[]): RawBuilder<unknown> {
  return sql`g(guest) as (values ${sql.join(guests.map((guest) => sql`(${guest})`))})`;
}
