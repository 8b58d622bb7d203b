import { setTimeout as sleep } from 'node:timers/promises';
import type { DatabaseSyncInstance } from '@photostructure/sqlite';
import type { Transaction } from 'kysely';
import { Kysely, sql } from 'kysely';
import { problemOf, UmlsnapError } from '../errors.js';
import { selectDrills, upsertDrill } from './drill-queries.js';
import { type EventFilter, insertEvent, selectEvents } from './event-queries.js';
import { deleteFindings, selectBadFindings } from './findings-queries.js';
import {
  endJob,
  insertJob,
  insertPhase,
  type JobFilter,
  type JobWithDetails,
  selectJob,
  selectJobs,
  selectKnownJobs,
} from './job-queries.js';
import { migrate, schemaState } from './migrate.js';
import {
  type AskedGuest,
  type GuestInstant,
  type LastPause,
  type PlottedPause,
  type PlottedSize,
  type RecentJob,
  type StoreGap,
  selectDurations,
  selectLastPauses,
  selectLastProven,
  selectNewestSound,
  selectPausesOf,
  selectRecentBackups,
  selectSizesOf,
  selectStoreGaps,
} from './overview-queries.js';
import { closePause, insertPause, selectOpenPauses } from './pause-queries.js';
import type {
  BadFindings,
  CapturedBy,
  DrillRecord,
  FindingsFilter,
  GuestEvent,
  GuestEventRecord,
  JobEnd,
  JobLogLine,
  JobRecord,
  JobStart,
  PauseEnd,
  PauseIntent,
  PauseRecord,
  PhaseRecord,
  SnapshotRecord,
  SweepRecord,
  VerificationRecord,
} from './records.js';
import {
  markRemoved,
  type Removal,
  type SnapshotFilter,
  selectSnapshots,
  upsertSnapshot,
} from './snapshot-queries.js';
import { sqliteDialect } from './sqlite-dialect.js';
import { sqliteFailure } from './sqlite-failure.js';
import { historyUnusable, openSqliteFile } from './sqlite-file.js';
import { upsertStore } from './store-queries.js';
import { selectSweep, upsertSweep } from './sweep-queries.js';
import type { Tables } from './tables.js';
import { type JobTotal, type PauseTotal, selectJobTotals, selectPauseTotals } from './total-queries.js';
import {
  noteFilesystems,
  selectVerifications,
  upsertVerification,
  type VerificationFilter,
} from './verification-queries.js';

export interface HistoryOptions {
  /** How long an operation may wait for other processes' locks. Default: a minute. */
  lockWaitMs?: number;
  /** For people without the right to write: nothing is created or migrated. */
  readOnly?: boolean;
}

/**
 * The history in one SQLite file, shared by every process of this host. A write that has returned is durable: it
 * survives kill -9 and a power cut.
 *
 * Every method throws HistoryLocked when others held the lock for longer than `lockWaitMs`, and HistoryUnusable when
 * the file is full, damaged, read-only or gone.
 */
export class SqliteHistory {
  readonly #path: string;
  readonly #lockWaitMs: number;
  readonly #database: DatabaseSyncInstance;
  readonly #db: Kysely<Tables>;
  #storesInUse: readonly string[] = [];

  private constructor(path: string, lockWaitMs: number, database: DatabaseSyncInstance) {
    this.#path = path;
    this.#lockWaitMs = lockWaitMs;
    this.#database = database;
    this.#db = new Kysely<Tables>({ dialect: sqliteDialect(database) });
  }

  /** Opens the file, creating and migrating it where need be. Several processes may do so at once. */
  static async open(path: string, options: HistoryOptions = {}): Promise<SqliteHistory> {
    const { lockWaitMs = 60_000, readOnly = false } = options;
    const database = await patiently(path, lockWaitMs, async () => openSqliteFile(path, readOnly));
    const history = new SqliteHistory(path, lockWaitMs, database);
    try {
      await patiently(path, lockWaitMs, () => history.#bringToOurSchema(readOnly));
      return history;
    } catch (error) {
      history.close();
      throw error;
    }
  }

  /** Records that a job has begun. @throws Internal when there is one of this name */
  async startJob(start: JobStart): Promise<void> {
    await this.#write((db) => insertJob(db, start));
  }

  /** Records a phase of a job, after those recorded before. @throws NoSuchJob */
  async recordPhase(job: string, phase: PhaseRecord): Promise<void> {
    await this.#write((db) => insertPhase(db, job, phase));
  }

  /** Closes a job with its log, once and for good. @throws NoSuchJob, JobEnded */
  async finishJob(job: string, end: JobEnd, log: readonly JobLogLine[] = []): Promise<void> {
    await this.#write((db) => endJob(db, job, end, log));
  }

  /** Jobs, newest first. */
  async jobs(filter: JobFilter): Promise<JobRecord[]> {
    return this.#read((db) => selectJobs(db, filter));
  }

  /** One job with its phases, pauses and log in their order. */
  async job(job: string): Promise<JobWithDetails | undefined> {
    return this.#read((db) => selectJob(db, job));
  }

  /** Those of these jobs that it has. */
  async knownJobs(jobs: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#read((db) => selectKnownJobs(db, jobs));
  }

  /** Jobs without an end, newest first; whether their processes still live is for the caller to find out. */
  async runningJobs(): Promise<JobRecord[]> {
    return this.#read((db) => selectJobs(db, { status: 'running' }));
  }

  /** MUST have returned before `stop` is sent: it is how `recover` learns of the pause. @throws NoSuchJob */
  async intendPause(intent: PauseIntent): Promise<void> {
    await this.#write((db) => insertPause(db, intent));
  }

  /** Closes a pause; the first end stands. @throws Internal when it was never intended */
  async endPause(pause: string, end: PauseEnd): Promise<void> {
    await this.#write((db) => closePause(db, pause, end));
  }

  /** Pauses without an end, oldest first. */
  async openPauses(): Promise<PauseRecord[]> {
    return this.#read((db) => selectOpenPauses(db));
  }

  /** Enters a snapshot that is durable in its store, or brings its row up to date. */
  async recordSnapshot(snapshot: SnapshotRecord): Promise<void> {
    await this.#write((db) => upsertSnapshot(db, snapshot));
  }

  /** Marks a snapshot removed and keeps the row; the first removal stands. */
  async forgetSnapshot(store: string, snapshot: string, removal: Removal): Promise<void> {
    await this.#write((db) => markRemoved(db, store, snapshot, removal));
  }

  /** Snapshots that are there, newest first. */
  async snapshots(filter: SnapshotFilter): Promise<SnapshotRecord[]> {
    return this.#read((db) => selectSnapshots(db, filter));
  }

  /** Remembers the last sweep of a guest's snapshots in a store, in the place of the one before. */
  async recordSweep(sweep: SweepRecord): Promise<void> {
    await this.#write((db) => upsertSweep(db, sweep));
  }

  async lastSweep(store: string, guest: string): Promise<SweepRecord | null> {
    return this.#read((db) => selectSweep(db, store, guest));
  }

  /**
   * Records what a verification came to, in the place of the copy's last one.
   * @param by what was found of the filesystems is true of every copy of that
   */
  async recordVerification(verification: VerificationRecord, by?: CapturedBy): Promise<void> {
    await this.#write(async (db) => {
      await upsertVerification(db, verification);
      if (by) await noteFilesystems(db, verification, by);
    });
  }

  /** The last verification of each snapshot, of removed ones too; the one that was made longest ago first. */
  async verifications(filter: VerificationFilter): Promise<VerificationRecord[]> {
    return this.#read((db) => selectVerifications(db, filter));
  }

  /** Records what a guest said. The oldest of its type give way: it may say whatever it likes. */
  async recordEvent(event: GuestEvent): Promise<void> {
    await this.#write((db) => insertEvent(db, event));
  }

  /** The newest of them, in the order in which they came. */
  async events(filter: EventFilter): Promise<GuestEventRecord[]> {
    return this.#read((db) => selectEvents(db, filter));
  }

  /** The newest backups of each of these guests, so many at most, oldest first. */
  async recentBackups(guests: readonly string[], perGuest: number): Promise<RecentJob[]> {
    return this.#read((db) => selectRecentBackups(db, guests, perGuest));
  }

  /** The newest sound snapshot of ours of each of these guests that is in these stores, once for each that has a sound copy. */
  async newestSound(guests: readonly AskedGuest[], stores: readonly string[]): Promise<SnapshotRecord[]> {
    return this.#read((db) => selectNewestSound(db, guests, stores));
  }

  /** What speaks against copies that are there, newest first. */
  async badFindings(filter: FindingsFilter): Promise<BadFindings> {
    return this.#read((db) => selectBadFindings(db, filter));
  }

  /** A new copy takes this one's place: what was found of the old one says nothing of it. */
  async forgetFindings(store: string, snapshot: string): Promise<void> {
    await this.#write((db) => deleteFindings(db, store, snapshot));
  }

  /** How far each of these stores is behind its guest's others. */
  async storeGaps(
    pairs: readonly { guest: string; store: string }[],
    stores: readonly string[],
  ): Promise<StoreGap[]> {
    return this.#read((db) => selectStoreGaps(db, pairs, stores));
  }

  /** The newest measured pause of each of these guests. */
  async lastPauses(guests: readonly string[]): Promise<LastPause[]> {
    return this.#read((db) => selectLastPauses(db, guests));
  }

  /** When a job of this kind last found a snapshot of each of these guests good. */
  async lastProven(guests: readonly string[], kind: 'verify' | 'drill'): Promise<GuestInstant[]> {
    return this.#read((db) => selectLastProven(db, guests, kind));
  }

  /** When these jobs began and ended; of those that have. */
  async durations(
    jobs: readonly string[],
  ): Promise<{ job: string; startedAt: string; finishedAt: string }[]> {
    return this.#read((db) => selectDurations(db, jobs));
  }

  /** A guest's newest measured pauses, so many at most, oldest first. */
  async pausesOf(guest: string, limit: number): Promise<PlottedPause[]> {
    return this.#read((db) => selectPausesOf(db, guest, limit));
  }

  /** The sizes of a guest's newest snapshots in a store, removed ones included, so many at most, oldest first. */
  async sizesOf(of: { guest: string; store: string }, limit: number): Promise<PlottedSize[]> {
    return this.#read((db) => selectSizesOf(db, of, limit));
  }

  /** How many jobs have ever ended, of each guest, kind and status. */
  async jobTotals(): Promise<JobTotal[]> {
    return this.#read((db) => selectJobTotals(db));
  }

  /** How many pauses were ever measured, of each guest and class of length. */
  async pauseTotals(): Promise<PauseTotal[]> {
    return this.#read((db) => selectPauseTotals(db));
  }

  /** The last slot of each guest's schedule that was dealt with. */
  async lastSlots(): Promise<{ guest: string; slot: string }[]> {
    return this.#read((db) => db.selectFrom('slots').selectAll().execute());
  }

  /** Records how a drill ended; only the last one of a copy is kept here, all of them are jobs. */
  async recordDrill(drill: DrillRecord): Promise<void> {
    await this.#write((db) => upsertDrill(db, drill));
  }

  /** The last drill of each copy that has had one, newest first; also of copies that are gone. */
  async drills(): Promise<DrillRecord[]> {
    return this.#read((db) => selectDrills(db));
  }

  /** The last slot of an entry of the timetable that was dealt with: of a guest, by its name, or of a global job. */
  async lastSlot(entry: string): Promise<string | null> {
    const row = await this.#read((db) =>
      db.selectFrom('slots').select('slot').where('guest', '=', entry).executeTakeFirst(),
    );
    return row?.slot ?? null;
  }

  async recordSlot(entry: string, slot: string): Promise<void> {
    await this.#write((db) =>
      db
        .insertInto('slots')
        .values({ guest: entry, slot })
        .onConflict((conflict) => conflict.column('guest').doUpdateSet({ slot }))
        .execute(),
    );
  }

  /** By the config that is in force; before it is told, all are. */
  useStores(names: readonly string[]): void {
    this.#storesInUse = names;
  }

  /** The id in the marker file of a store when we last saw it: a directory without it is not that store. */
  async storeId(store: string): Promise<string | null> {
    const row = await this.#read((db) =>
      db.selectFrom('stores').select('id').where('store', '=', store).executeTakeFirst(),
    );
    return row?.id ?? null;
  }

  /** The id of the state directory, where it was ever made. */
  async stateId(): Promise<string | null> {
    const row = await this.#read((db) => db.selectFrom('identity').select('id').executeTakeFirst());
    return row?.id ?? null;
  }

  async rememberStateId(id: string): Promise<void> {
    await this.#write((db) =>
      db
        .insertInto('identity')
        .values({ one: 1, id })
        .onConflict((conflict) => conflict.column('one').doUpdateSet({ id }))
        .execute(),
    );
  }

  /** What it knows of that store by a name that is out of use goes by this one from then on. */
  async rememberStore(store: string, id: string): Promise<void> {
    await this.#write((db) => upsertStore(db, { store, id }, this.#storesInUse));
  }

  /** Has SQLite read all of the file; what it finds wrong, a line each. */
  async integrityProblems(): Promise<string[]> {
    const rows = await this.#read((db) => sql<{ quick_check: string }>`pragma quick_check(20)`.execute(db));
    const lines = rows.rows.map(({ quick_check: line }) => line);
    return lines.filter((line) => line !== 'ok');
  }

  /** Nothing may be under way. The file stays open until the binding's statements are garbage-collected. */
  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  async #bringToOurSchema(readOnly: boolean): Promise<void> {
    const schema = await schemaState(this.#db);
    if (schema.state === 'current') return;
    if (schema.state === 'newer')
      throw this.#unusable(`a newer umlsnap has written it (schema ${schema.found})`);
    if (readOnly) throw this.#unusable('its schema is older than this umlsnap, and it may only be read');
    await migrate(this.#db);
  }

  #unusable(problem: string): UmlsnapError {
    return new UmlsnapError('HistoryUnusable', { path: this.#path, problem });
  }

  /** Reads in one transaction would take the write lock; each query is consistent in itself. */
  #read<T>(use: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
    return patiently(this.#path, this.#lockWaitMs, () => use(this.#db));
  }

  #write<T>(use: (db: Transaction<Tables>) => Promise<T>): Promise<T> {
    return patiently(this.#path, this.#lockWaitMs, () => this.#db.transaction().execute(use));
  }
}

/** Tries until others let go of the lock. A try that found it taken has changed nothing. */
async function patiently<T>(path: string, lockWaitMs: number, attempt: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  for (let waitMs = 5; ; waitMs = Math.min(waitMs * 2, 100)) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof UmlsnapError) throw error;
      const failure = sqliteFailure(error);
      if (failure === undefined) throw new UmlsnapError('Internal', { problem: problemOf(error) }, error);
      if (failure.kind === 'unusable') {
        throw historyUnusable(path, failure.problem, error);
      }
      const waitedMs = performance.now() - startedMs;
      if (waitedMs >= lockWaitMs) {
        throw new UmlsnapError('HistoryLocked', { path, waitedMs: Math.round(waitedMs) }, error);
      }
      await sleep(waitMs * (0.5 + Math.random()));
    }
  }
}
