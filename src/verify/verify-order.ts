/** Which snapshots are verified, and in which order: decided without looking at any of them. */

export interface Candidate {
  takenAt: Date;
  /** null: never, or it could not be read. A capture reads back what it has stored, so the age of one that is new counts from there. */
  verifiedAt: Date | null;
}

export interface DueRule {
  now: Date;
  /** Each snapshot is to be read once in this time. */
  withinMs: number;
  /** When the next chance comes; null: this is the last one. */
  nextRun: Date | null;
}

/** The one that was verified longest ago comes first; one that never was counts from its capture. */
export function oldestVerifiedFirst<C extends Candidate>(candidates: readonly C[]): C[] {
  return [...candidates].sort((a, b) => readAt(a) - readAt(b));
}

/**
 * What a run MUST read so that nothing is read later than it should be: all that would be overdue before the next run. And what it
 * should read, so that runs are alike and not one of them reads everything: its part of them all, unless they were read in the
 * last half of the period. In the order of `oldestVerifiedFirst`.
 */
export function dueOf<C extends Candidate>(
  candidates: readonly C[],
  { now, withinMs, nextRun }: DueRule,
): C[] {
  const untilNextMs = nextRun === null ? withinMs : Math.max(0, nextRun.getTime() - now.getTime());
  const runsInPeriod = Math.max(1, Math.floor(withinMs / Math.max(1, untilNextMs)));
  const part = Math.ceil(candidates.length / runsInPeriod);
  return oldestVerifiedFirst(candidates).filter((candidate, index) => {
    const ageMs = now.getTime() - readAt(candidate);
    return ageMs + untilNextMs >= withinMs || (index < part && ageMs >= withinMs / 2);
  });
}

function readAt({ takenAt, verifiedAt }: Candidate): number {
  return Math.max(takenAt.getTime(), verifiedAt?.getTime() ?? 0);
}
