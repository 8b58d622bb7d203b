import type { Config, GuestConfig } from '../config/config.js';
import { reachableStores } from '../config/guest-named.js';
import { lookForAgent } from '../doctor/look-for-agent.js';
import { conditionOf, type GuestCondition } from '../guest/guest-condition.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { nextRunOf } from '../schedule/next-run.js';
import { Findings, type UnsoundCopy } from '../store/soundness.js';

/** A guest of the config, now: as it is, and what the history knows of it. */
export interface GuestStatus extends GuestCondition {
  guest: string;
  /** Whether an agent answers in it; null: not known now. */
  agent: boolean | null;
  /** The job of ours whose pause is not closed yet: a guest that is stopped without one was stopped by somebody else. */
  pausedByJob: string | null;
  lastSnapshot: {
    snapshot: string;
    takenAt: string;
    ageSeconds: number;
    consistency: string;
    store: string;
  } | null;
  /** Copies of its snapshots that are not sound, newest first: none of them is the last snapshot. */
  unsound: UnsoundCopy[];
  /** Whatever else was done since: a dry run or a verification says nothing of how the guest's backups go. */
  lastBackup: { job: string; status: string; startedAt: string; finishedAt: string | null } | null;
  /** null: it has no schedule. */
  nextRun: { at: string; isOverdue: boolean } | null;
}

type StatusHistory = Pick<SqliteHistory, 'jobs' | 'newestSound' | 'badFindings' | 'lastSlot' | 'openPauses'>;

export interface StatusDeps {
  config: Pick<Config, 'state' | 'stores'>;
  /** null when it can't be used: then only what can be seen of the guest is known. */
  history: StatusHistory | null;
  /** Whoever listens to this guest already. */
  source: NotificationSource | null;
}

/** @throws HistoryUnusable, HistoryLocked */
export async function guestStatus(guest: GuestConfig, deps: StatusDeps, now: Date): Promise<GuestStatus> {
  const { config, history, source } = deps;
  const condition = await conditionOf(guest);
  const { state, pid } = condition;
  const isAsked = state === 'running' && pid !== null;
  const look = { config: guest, stateDirectory: config.state };
  const agent = isAsked ? await lookForAgent({ ...look, pid, source }) : null;
  const nothing = { pausedByJob: null, lastSnapshot: null, unsound: [], lastBackup: null, nextRun: null };
  const known = history === null ? nothing : await knownOf(guest, reachableStores(config), history, now);
  return { guest: guest.name, ...condition, agent, ...known };
}

async function knownOf(config: GuestConfig, stores: readonly string[], history: StatusHistory, now: Date) {
  const guest = config.name;
  const [backup] = await history.jobs({ guest, kind: 'backup', limit: 1 });
  const pauses = await history.openPauses();
  return {
    pausedByJob: pauses.find((pause) => pause.guest === guest)?.job ?? null,
    lastSnapshot: await lastSnapshotOf(config, stores, history, now),
    unsound: new Findings(await history.badFindings({ guest })).unsound(() => config.isDrilled, stores),
    lastBackup: backup
      ? {
          ...{ job: backup.job, status: backup.status },
          ...{ startedAt: backup.startedAt, finishedAt: backup.finishedAt },
        }
      : null,
    nextRun: await nextRun(config, history, now),
  };
}

async function lastSnapshotOf(
  config: GuestConfig,
  stores: readonly string[],
  history: StatusHistory,
  now: Date,
): Promise<GuestStatus['lastSnapshot']> {
  const [newest] = await history.newestSound([config], stores);
  if (!newest) return null;
  const { snapshot, takenAt, consistency, store } = newest;
  const ageSeconds = Math.max(0, Math.round((now.getTime() - Date.parse(takenAt)) / 1000));
  return { snapshot, takenAt, ageSeconds, consistency, store };
}

async function nextRun(
  { name, schedule, timezone, catchUp, jitterMs }: GuestConfig,
  history: StatusHistory,
  now: Date,
): Promise<GuestStatus['nextRun']> {
  if (schedule === undefined) return null;
  const lastSlot = await history.lastSlot(name);
  const next = nextRunOf(
    {
      name,
      schedule,
      timezone,
      catchUp,
      jitterMs,
      lastSlot: lastSlot === null ? null : new Date(lastSlot),
    },
    now,
  );
  return next && { at: next.at.toISOString(), isOverdue: next.isOverdue };
}
