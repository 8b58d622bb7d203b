import type { GuestConfig } from '../config/config.js';
import { isExcused } from '../history/halted.js';
import type { RecentJob } from '../history/overview-queries.js';
import type { SnapshotRecord } from '../history/records.js';
import { type NextRun, nextRunOf } from '../schedule/next-run.js';
import { type PromisedRun, promisedRun } from '../schedule/promised-run.js';
import { type UnsoundCopy, unsoundWord } from '../store/soundness.js';
import { ageText, msSince } from './format.js';

/** What is known of a guest without asking it. */
export interface GuestRecords {
  /** Newest backups, oldest first. */
  recent: RecentJob[];
  /** The newest that is sound. */
  newest: SnapshotRecord | null;
  /** Copies that are not, newest first. */
  unsound: UnsoundCopy[];
  /** The stores that have a sound copy of the newest snapshot. */
  stores: string[];
  lastPause: { pausedMs: number; budgetMs: number } | null;
  /** A pause of ours that nobody has closed yet. */
  openPause: { job: string; intendedAt: string; budgetMs: number } | null;
  lastSlot: string | null;
}

/** How a guest was when it was last looked at. */
export interface SeenState {
  state: 'running' | 'stopped' | 'notRunning' | 'unreachable' | 'unknown';
  problem: string | null;
}

/** `bad`: somebody has to do something. `notice`: it should be known. */
export interface Finding {
  level: 'bad' | 'notice';
  text: string;
  /** A row says it already, where it says how the guest is. */
  isState?: true;
}

export interface GuestOverview extends GuestRecords {
  guest: string;
  config: GuestConfig;
  /** null: nobody has looked. */
  seen: SeenState | null;
  /** null: it has no schedule, or one that has no more slots. */
  nextRun: NextRun | null;
  /** null: there was no promise. */
  promise: PromisedRun | null;
  /** When it was last due, with a sound snapshot of its last backup: it is not late. */
  isHalted: boolean;
  isLate: boolean;
  /** Worst first. */
  findings: Finding[];
}

/** A pause is closed in the history some moments after the guest runs again. */
const pauseGraceMs = 15_000;

/** Puts together what is known of a guest, and decides whether it is well. */
export function overviewOf(
  config: GuestConfig,
  records: GuestRecords,
  seen: SeenState | null,
  now: Date,
): GuestOverview {
  const { schedule, timezone, jitterMs } = config;
  const promise = schedule === undefined ? null : promisedRun({ schedule, timezone, jitterMs }, now);
  const { newest, recent } = records;
  const isHalted = isExcused(recent, newest?.takenAt ?? null, promise?.slot ?? null);
  const isOld = newest !== null && promise !== null && Date.parse(newest.takenAt) < promise.slot.getTime();
  const about = { config, ...records, seen, promise, isHalted, isLate: isOld && !isHalted };
  const findings = [
    ...pauseFindings(about, now),
    ...snapshotFindings(about, now),
    ...copyFindings(about),
    ...stateFindings(about),
  ].sort((a, b) => rank[a.level] - rank[b.level]);
  return { guest: config.name, ...about, nextRun: nextRun(config, records, now), findings };
}

export const rank: Record<Finding['level'], number> = { bad: 0, notice: 1 };

type About = Omit<GuestOverview, 'guest' | 'nextRun' | 'findings'>;

function pauseFindings({ openPause, seen }: About, now: Date): Finding[] {
  if (openPause) {
    const ageMs = msSince(openPause.intendedAt, now);
    if (ageMs <= openPause.budgetMs + pauseGraceMs) return [];
    const text = `may be paused, for ${ageText(ageMs)}: run umlsnap recover`;
    return [{ level: 'bad', text }];
  }
  if (seen?.state !== 'stopped') return [];
  return [{ level: 'bad', text: 'stands still, and no job of ours has stopped it' }];
}

function snapshotFindings(about: About, now: Date): Finding[] {
  const { config, newest, recent, promise, isLate } = about;
  const findings: Finding[] = [];
  const lastEnded = recent.findLast(({ status }) => status !== 'running' && status !== 'skipped');
  const isNewer = lastEnded && (newest === null || lastEnded.startedAt > newest.takenAt);
  if (lastEnded && isNewer && (lastEnded.status === 'failed' || lastEnded.status === 'interrupted')) {
    const how = lastEnded.status === 'failed' ? 'failed' : 'was interrupted';
    findings.push({
      level: 'bad',
      text: `last backup ${how}, ${ageText(msSince(lastEnded.startedAt, now))} ago`,
    });
  }
  if (isLate && promise) {
    findings.push({ level: 'bad', text: `late by ${ageText(now.getTime() - promise.slot.getTime())}` });
  }
  if (newest === null) {
    const level = config.schedule === undefined || recent.length === 0 ? 'notice' : 'bad';
    findings.push({ level, text: about.unsound.length > 0 ? 'no sound snapshot' : 'no snapshot yet' });
  }
  if (lastEnded?.status === 'warning') findings.push({ level: 'notice', text: 'last backup has warnings' });
  return findings;
}

/** Each is there until it is brought back, or removed: whoever needs it finds it bad. */
function copyFindings({ unsound }: About): Finding[] {
  return unsound.map(({ snapshot, store, soundness }) => ({
    level: 'bad',
    text: `${unsoundWord[soundness.type]}: ${snapshot} in ${store}; umlsnap show ${snapshot}`,
  }));
}

function stateFindings({ config, seen }: About): Finding[] {
  if (seen?.state === 'unreachable') return [{ level: 'notice', text: 'does not answer', isState: true }];
  if (seen?.state === 'notRunning' && config.schedule !== undefined)
    return [{ level: 'notice', text: 'does not run', isState: true }];
  return [];
}

function nextRun(
  { name, schedule, timezone, catchUp, jitterMs }: GuestConfig,
  { lastSlot }: GuestRecords,
  now: Date,
) {
  if (schedule === undefined) return null;
  const planned = { name, schedule, timezone, catchUp, jitterMs };
  return nextRunOf({ ...planned, lastSlot: lastSlot === null ? null : new Date(lastSlot) }, now);
}

/** Worst first, then by name. */
export function inOrder(guests: GuestOverview[]): GuestOverview[] {
  const rankOf = ({ findings: [worst] }: GuestOverview) => (worst ? rank[worst.level] : 2);
  return guests.toSorted((a, b) => rankOf(a) - rankOf(b) || (a.guest < b.guest ? -1 : 1));
}
