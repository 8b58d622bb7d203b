/** A snapshot as retention sees it. */
export interface RetentionCandidate {
  snapshot: string;
  /** ISO 8601. */
  takenAt: string;
  pinned: boolean;
  /** Known to be whole: false for what is damaged, failed its last verification, or could not be verified. */
  good: boolean;
  /** Why it is not known to be good, for people. */
  problem?: string;
}

/** Nothing was taken before; a clock that has lost its battery begins in 1970, 2000 or when its chip was made. */
const earliestCredibleMs = Date.UTC(2020, 0, 1);

/** Its time can be read, and can be true. */
export function hasTime(item: RetentionCandidate): boolean {
  return timeOf(item) >= earliestCredibleMs;
}

/** NaN where it can't be read. */
export function timeOf(item: RetentionCandidate): number {
  return Date.parse(item.takenAt);
}
