import type { KeepPolicy } from './keep-policy.js';
import { type BucketRule, bucketOf, bucketRules } from './time-buckets.js';

/** A snapshot as retention sees it. */
export interface RetentionCandidate {
  snapshot: string;
  /** ISO 8601. */
  takenAt: string;
  pinned: boolean;
  /** Known to be whole: false for what is damaged or could not be verified. */
  good: boolean;
}

export interface KeptSnapshot {
  snapshot: string;
  /** One or more, for people. */
  reasons: string[];
}

export interface RemovedSnapshot {
  snapshot: string;
  reason: string;
}

export interface RetentionPlan {
  /** Both from the newest to the oldest; together they are the input. */
  keep: KeptSnapshot[];
  remove: RemovedSnapshot[];
}

/**
 * Decides which snapshots of one guest stay. The rules are restic's: each keeps the newest of each of the last N
 * hours, days and so on, in the guest's time zone, that have a snapshot; what no rule keeps goes. An empty policy keeps
 * everything. Over the rules stand these:
 * - pinned snapshots stay, and so does the newest good one;
 * - one that is not known to be good counts for no rule, so that it never takes the place of a good one, and is never
 *   removed by a rule, since it may be all that is left of that day;
 * - while any snapshot lies in the future, nothing is removed: the clock was wrong then or is wrong now, and what it
 *   says about age can't be trusted.
 *
 * `within` is counted back from the newest good snapshot: a guest that is no longer backed up keeps what it has.
 */
export function applyKeepPolicy(
  snapshots: readonly RetentionCandidate[],
  policy: KeepPolicy,
  { timezone = 'UTC', now }: { timezone?: string; now: Date },
): RetentionPlan {
  const newestFirst = [...snapshots].sort(byNewestFirst);
  const reasons = new Map<RetentionCandidate, string[]>(
    newestFirst.map((item) => [item, reasonsOutsideRules(item)]),
  );
  const countable = newestFirst.filter(isCountable);
  addReasonsOfRules(countable, policy, timezone, reasons);
  const newestGood = countable[0];
  if (newestGood !== undefined) reasons.get(newestGood)?.push('the newest good snapshot');

  const hold = reasonToRemoveNothing(newestFirst, policy, now);
  const plan: RetentionPlan = { keep: [], remove: [] };
  for (const item of newestFirst) {
    const own = reasons.get(item) ?? [];
    if (own.length > 0) plan.keep.push({ snapshot: item.snapshot, reasons: own });
    else if (hold !== null) plan.keep.push({ snapshot: item.snapshot, reasons: [hold] });
    else plan.remove.push({ snapshot: item.snapshot, reason: 'no keep rule asks for it' });
  }
  return plan;
}

function reasonsOutsideRules(item: RetentionCandidate): string[] {
  const reasons: string[] = [];
  if (item.pinned) reasons.push('pinned');
  if (!item.good) reasons.push('not known to be good: look at it');
  else if (!hasTime(item)) reasons.push(`its time can't be read: "${item.takenAt}"`);
  return reasons;
}

function addReasonsOfRules(
  countable: readonly RetentionCandidate[],
  policy: KeepPolicy,
  timezone: string,
  reasons: Map<RetentionCandidate, string[]>,
): void {
  for (const [index, item] of countable.slice(0, policy.last ?? 0).entries()) {
    reasons.get(item)?.push(`last: ${index + 1} of ${policy.last}`);
  }
  for (const rule of bucketRules) {
    for (const { item, bucket } of newestOfEachBucket(countable, rule, policy[rule] ?? 0, timezone)) {
      reasons.get(item)?.push(`${rule}: newest of ${bucket}`);
    }
  }
  const newest = countable[0];
  if (newest === undefined || policy.withinMs === undefined) return;
  const oldestMs = timeOf(newest) - policy.withinMs;
  for (const item of countable) {
    if (timeOf(item) >= oldestMs) reasons.get(item)?.push('within: young enough');
  }
}

function newestOfEachBucket(
  newestFirst: readonly RetentionCandidate[],
  rule: BucketRule,
  count: number,
  timezone: string,
): { item: RetentionCandidate; bucket: string }[] {
  const newest = new Map<string, RetentionCandidate>();
  for (const item of newestFirst) {
    if (newest.size >= count) break;
    const bucket = bucketOf(rule, new Date(timeOf(item)), timezone);
    if (!newest.has(bucket)) newest.set(bucket, item);
  }
  return [...newest].map(([bucket, item]) => ({ item, bucket }));
}

function reasonToRemoveNothing(
  snapshots: readonly RetentionCandidate[],
  policy: KeepPolicy,
  now: Date,
): string | null {
  const hasRule = Object.values(policy).some((value) => value !== undefined && value > 0);
  if (!hasRule) return 'no keep rule is set: everything stays';
  const future = snapshots.find((item) => timeOf(item) > now.getTime());
  if (future === undefined) return null;
  return `${future.snapshot} lies in the future: nothing is removed until the clock is right`;
}

function isCountable(item: RetentionCandidate): boolean {
  return item.good && hasTime(item);
}

function hasTime(item: RetentionCandidate): boolean {
  return !Number.isNaN(timeOf(item));
}

function timeOf(item: RetentionCandidate): number {
  return Date.parse(item.takenAt);
}

/** Ties by name, so that the order of the input never matters; what has no time comes last. */
function byNewestFirst(a: RetentionCandidate, b: RetentionCandidate): number {
  const ageOrder = (hasTime(b) ? timeOf(b) : -Infinity) - (hasTime(a) ? timeOf(a) : -Infinity);
  if (ageOrder !== 0 && !Number.isNaN(ageOrder)) return ageOrder;
  return a.snapshot < b.snapshot ? 1 : -1;
}
