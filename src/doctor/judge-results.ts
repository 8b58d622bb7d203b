import type { Config, GuestConfig } from '../config/config.js';
import { reachableStores, storesToFill } from '../config/guest-named.js';
import { isExcused } from '../history/halted.js';
import { backupsThatTell, levelsReached } from '../history/levels.js';
import type { RecentJob, StoreGap } from '../history/overview-queries.js';
import type { JobRecord, SnapshotRecord, VerificationRecord } from '../history/records.js';
import { promisedRun } from '../schedule/promised-run.js';
import { Findings, type FindingsLedger } from '../store/soundness.js';
import { checkBackups } from './check-backups.js';
import { checkCopies, type KnownCopy } from './check-copies.js';
import { checkLevel } from './check-level.js';
import type { Finding } from './finding.js';

export interface ResultsHistory extends FindingsLedger {
  jobs(filter: { guest?: string; kind?: 'backup'; limit: number }): Promise<JobRecord[]>;
  recentBackups(guests: readonly string[], perGuest: number): Promise<RecentJob[]>;
  snapshots(filter: { guest?: string; own?: true }): Promise<SnapshotRecord[]>;
  verifications(filter: { guest: string }): Promise<VerificationRecord[]>;
  storeGaps(
    pairs: readonly { guest: string; store: string }[],
    stores: readonly string[],
  ): Promise<StoreGap[]>;
}

/**
 * What came out of a guest's backups, by the history: how old its last sound snapshot is, what is the matter with the copies that there
 * are, and how consistent they were.
 * @param history null: there is none yet
 * @throws HistoryUnusable, HistoryLocked
 */
export async function judgeResults(
  config: GuestConfig,
  { verify, stores }: Pick<Config, 'verify' | 'stores'>,
  history: ResultsHistory | null,
  now: Date,
): Promise<Finding[]> {
  const { name: guest, schedule, timezone, jitterMs } = config;
  const jobs = (await history?.jobs({ guest, kind: 'backup', limit: backupsThatTell })) ?? [];
  const reachable = reachableStores({ stores });
  const copies = history === null ? [] : await copiesOf(config, reachable, history);
  const [lastSound = null] = copies.filter(({ soundness }) => soundness.type === 'sound');
  const recent = (await history?.recentBackups([guest], backupsThatTell)) ?? [];
  const promise = schedule === undefined ? null : promisedRun({ schedule, timezone, jitterMs }, now);
  const record = {
    ...{ guest, schedule, timezone, jitterMs, lastSound },
    ended: jobs.filter(({ status }) => ['success', 'warning', 'failed'].includes(status)),
    hasCopies: copies.length > 0,
    isRunning: jobs.some(({ status }) => status === 'running'),
    isHalted: isExcused(recent, lastSound?.takenAt ?? null, promise?.slot ?? null),
  };
  const gaps = (await history?.storeGaps(storesToFill(config), reachable)) ?? [];
  const verifiedWithinMs = verify.schedule === null ? null : verify.withinMs;
  return [
    checkBackups(record, now),
    checkCopies({ guest, copies, gaps, verifiedWithinMs }, now),
    checkLevel(config, levelsReached(jobs)),
  ];
}

/** Newest first, in the order of the guest's stores. */
async function copiesOf(
  { name: guest, isDrilled, store, otherStores }: GuestConfig,
  stores: readonly string[],
  history: ResultsHistory,
): Promise<KnownCopy[]> {
  const findings = new Findings(await history.badFindings({ guest }));
  const verifications = await history.verifications({ guest });
  const verifiedAt = new Map(
    verifications
      .filter(({ result }) => result !== 'notRead')
      .map((one) => [`${one.store} ${one.snapshot}`, one.verifiedAt]),
  );
  const order = [store, ...otherStores];
  const rows = await history.snapshots({ guest, own: true });
  return rows
    .filter(({ store: of }) => stores.includes(of))
    .sort((a, b) =>
      a.takenAt < b.takenAt
        ? 1
        : a.takenAt > b.takenAt
          ? -1
          : order.indexOf(a.store) - order.indexOf(b.store),
    )
    .map(({ snapshot, job, store: of, takenAt }) => ({
      ...{ snapshot, store: of, takenAt },
      soundness: findings.soundnessOf(of, { snapshot, job }, isDrilled),
      verifiedAt: verifiedAt.get(`${of} ${snapshot}`) ?? null,
    }));
}
