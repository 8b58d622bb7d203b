import { type RetentionCandidate, timeOf } from './candidate.js';
import type { KeepPolicy } from './keep-policy.js';
import { type BucketRule, bucketOf, bucketRules } from './time-buckets.js';

/** Adds to `reasons` what each rule of a policy says of those that count, newest first. */
export function addReasonsOfRules<C extends RetentionCandidate>(
  countable: readonly C[],
  policy: KeepPolicy,
  timezone: string,
  reasons: Map<C, string[]>,
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

function newestOfEachBucket<C extends RetentionCandidate>(
  newestFirst: readonly C[],
  rule: BucketRule,
  count: number,
  timezone: string,
): { item: C; bucket: string }[] {
  const newest = new Map<string, C>();
  for (const item of newestFirst) {
    if (newest.size >= count) break;
    const bucket = bucketOf(rule, new Date(timeOf(item)), timezone);
    if (!newest.has(bucket)) newest.set(bucket, item);
  }
  return [...newest].map(([bucket, item]) => ({ item, bucket }));
}
