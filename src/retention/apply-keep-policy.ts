import { hasTime, type RetentionCandidate, timeOf } from './candidate.js';
import { type ClockDoubt, clockDoubt, type PreviousSweep } from './clock-doubt.js';
import type { KeepPolicy } from './keep-policy.js';
import { addReasonsOfRules } from './keep-rules.js';

export interface KeptSnapshot {
  snapshot: string;
  /** One or more, for people. */
  reasons: string[];
}

export interface RemovedSnapshot<C> {
  /** As it was given: two jobs' snapshots may go by one name. */
  candidate: C;
  snapshot: string;
  reason: string;
}

export interface RetentionPlan<C = RetentionCandidate> {
  /** Both from the newest to the oldest; together they are the input. */
  keep: KeptSnapshot[];
  remove: RemovedSnapshot<C>[];
  /** What a person should look at: a clock that can't be trusted, and what came of it. */
  warnings: string[];
  /** What the next sweep is to be told of this one, once it is carried out; null while the clock is in doubt. */
  remember: Pick<PreviousSweep, 'newestTakenAt' | 'aheadUntil'> | null;
}

export interface RetentionTimes {
  now: Date;
  /** IANA name; UTC if not given. */
  timezone?: string;
  /** null: nobody has swept these before. */
  previous?: PreviousSweep | null;
  /** A person says that `now` is the time, whatever speaks against it. */
  clockIsRight?: boolean;
}

/**
 * Decides which snapshots of one guest stay. The rules are restic's: each keeps the newest of each of the last N
 * hours, days and so on, in the guest's time zone, that have a snapshot; what no rule keeps goes. An empty policy keeps
 * everything. Over the rules stand these:
 * - pinned snapshots stay, and so does the newest good one;
 * - one that is not known to be good, or whose time can't be true, counts for no rule, so that it never takes the place of a
 *   good one, and is never removed by a rule, since it may be all that is left of that day;
 * - a clock that was set back removes nothing: while any snapshot or the previous sweep lies in the future, what the clock
 *   says about age can't be trusted;
 * - a clock that leapt ahead removes nothing that is younger than the previous sweep's newest, and the older are judged as if
 *   the younger were not there: what they took the place of, or were told from, may be a wrong time.
 *
 * Both last until the clock is right again, or a person says that it is (`clockIsRight`): what then lies in the future stays,
 * and counts for no rule. `within` is counted back from the newest good snapshot: a guest that is no longer backed up keeps
 * what it has.
 */
export function applyKeepPolicy<C extends RetentionCandidate>(
  snapshots: readonly C[],
  policy: KeepPolicy,
  { timezone = 'UTC', now, previous = null, clockIsRight = false }: RetentionTimes,
): RetentionPlan<C> {
  const newestFirst = [...snapshots].sort(byNewestFirst);
  const clock: ClockDoubt = clockIsRight ? { doubt: 'none' } : clockDoubt(newestFirst, previous, now);
  const nowMs = now.getTime();
  const reasons = new Map<C, string[]>(
    newestFirst.map((item) => [item, reasonsOutsideRules(item, clock, nowMs)]),
  );
  const countable = newestFirst.filter((item) => countsAt(item, clock, nowMs));
  const judged =
    clock.doubt === 'leapt' ? countable.filter((item) => timeOf(item) <= clock.newestMs) : countable;
  addReasonsOfRules(judged, policy, timezone, reasons);
  const newestGood = countable[0];
  if (newestGood !== undefined) reasons.get(newestGood)?.push('the newest good snapshot');

  const ahead = newestFirst.find((item) => timeOf(item) > nowMs);
  return {
    ...split(newestFirst, reasons, reasonToRemoveNothing(policy, clock)),
    warnings: warningsOf(clock),
    remember:
      clock.doubt === 'none'
        ? { newestTakenAt: newestGood?.takenAt ?? null, aheadUntil: ahead?.takenAt ?? null }
        : null,
  };
}

function split<C extends RetentionCandidate>(
  newestFirst: readonly C[],
  reasons: ReadonlyMap<C, string[]>,
  hold: string | null,
): Pick<RetentionPlan<C>, 'keep' | 'remove'> {
  const plan: Pick<RetentionPlan<C>, 'keep' | 'remove'> = { keep: [], remove: [] };
  for (const item of newestFirst) {
    const own = reasons.get(item) ?? [];
    if (own.length > 0) plan.keep.push({ snapshot: item.snapshot, reasons: own });
    else if (hold !== null) plan.keep.push({ snapshot: item.snapshot, reasons: [hold] });
    else plan.remove.push({ candidate: item, snapshot: item.snapshot, reason: 'no keep rule asks for it' });
  }
  return plan;
}

function reasonsOutsideRules(item: RetentionCandidate, clock: ClockDoubt, nowMs: number): string[] {
  const reasons: string[] = [];
  if (item.pinned) reasons.push('pinned');
  if (!item.good) reasons.push(`not known to be good: ${item.problem ?? 'look at it'}`);
  else if (!hasTime(item)) reasons.push(`its time can't be true: "${item.takenAt}"`);
  else if (clock.doubt === 'none' && timeOf(item) > nowMs)
    reasons.push('it lies in the future, where a clock was once: it counts for no rule');
  else if (clock.doubt === 'leapt' && timeOf(item) > clock.newestMs)
    reasons.push("younger than the previous sweep's newest, and the clock leapt");
  return reasons;
}

function reasonToRemoveNothing(policy: KeepPolicy, clock: ClockDoubt): string | null {
  const hasRule = Object.values(policy).some((value) => value !== undefined && value > 0);
  if (!hasRule) return 'no keep rule is set: everything stays';
  return clock.doubt === 'setBack' ? `${clock.why}: nothing is removed until the clock is right` : null;
}

function warningsOf(clock: ClockDoubt): string[] {
  const advice = 'If it is right now, say so: `umlsnap prune GUEST --clock-is-right`.';
  switch (clock.doubt) {
    case 'none':
      return [];
    case 'setBack':
      return [
        `The clock was set back, or is wrong: ${clock.why}. No snapshot is removed until then. ${advice}`,
      ];
    case 'leapt':
      return [
        `The clock leapt ahead: ${clock.why}. No snapshot since the previous sweep is removed, nor any for their sake. ${advice}`,
      ];
  }
}

/** Counts for the rules. */
function countsAt(item: RetentionCandidate, clock: ClockDoubt, nowMs: number): boolean {
  return item.good && hasTime(item) && (clock.doubt === 'setBack' || timeOf(item) <= nowMs);
}

/** Ties by name, so that the order of the input never matters; what has no time comes last. */
function byNewestFirst(a: RetentionCandidate, b: RetentionCandidate): number {
  const ageOrder = (hasTime(b) ? timeOf(b) : -Infinity) - (hasTime(a) ? timeOf(a) : -Infinity);
  if (ageOrder !== 0 && !Number.isNaN(ageOrder)) return ageOrder;
  return a.snapshot < b.snapshot ? 1 : -1;
}
