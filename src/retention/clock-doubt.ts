import type { RetentionCandidate } from './candidate.js';

/** What the previous sweep of the same snapshots has left for this one. */
export interface PreviousSweep {
  /** By the wall clock of that time, ISO 8601. */
  sweptAt: string;
  /** When the newest snapshot that it counted was taken; null: it had none. */
  newestTakenAt: string | null;
  /** What has passed since by a clock that nobody sets; null where none has run through, as after a restart of the host. */
  elapsedMs: number | null;
  /** Snapshots up to here lie in the future because a clock was wrong once: a person has said that it is right now. */
  aheadUntil: string | null;
}

/**
 * What the clock can be trusted with. `setBack`: nothing that it says of an age is worth a snapshot. `leapt`: more time is said
 * to have passed than can have, so that only what the previous sweep saw can be judged, as of then.
 */
export type ClockDoubt =
  | { doubt: 'none' }
  | { doubt: 'setBack'; why: string }
  | { doubt: 'leapt'; why: string; newestMs: number };

/** Smaller ones come of a clock in local time where it should be UTC, and of a host that was suspended. */
export const harmlessLeapMs = 3 * 3_600_000;
/** Across a restart of the host nothing tells a long rest from a leap: longer than this, a person is asked. */
export const credibleRestMs = 100 * 86_400_000;

export function clockDoubt(
  snapshots: readonly RetentionCandidate[],
  previous: PreviousSweep | null,
  now: Date,
): ClockDoubt {
  const aheadUntilMs = Date.parse(previous?.aheadUntil ?? '');
  const future = snapshots.find(({ takenAt }) => {
    const takenMs = Date.parse(takenAt);
    return takenMs > now.getTime() && !(takenMs <= aheadUntilMs);
  });
  if (future !== undefined) return { doubt: 'setBack', why: `${future.snapshot} lies in the future` };
  if (previous === null) return { doubt: 'none' };
  const passedMs = now.getTime() - Date.parse(previous.sweptAt);
  if (passedMs < 0)
    return { doubt: 'setBack', why: `the previous sweep lies in the future (${previous.sweptAt})` };
  const why = whyLeapt(previous, passedMs);
  if (why === null) return { doubt: 'none' };
  const newestMs = previous.newestTakenAt === null ? -Infinity : Date.parse(previous.newestTakenAt);
  return { doubt: 'leapt', why, newestMs };
}

function whyLeapt({ sweptAt, elapsedMs }: PreviousSweep, passedMs: number): string | null {
  const said = `the clock says that ${days(passedMs)} have passed since the previous sweep (${sweptAt})`;
  if (elapsedMs === null) {
    return passedMs > credibleRestMs ? `${said}, and the host was restarted meanwhile` : null;
  }
  return passedMs > elapsedMs + harmlessLeapMs ? `${said}, and it were ${days(elapsedMs)}` : null;
}

function days(ms: number): string {
  return ms < 86_400_000 ? `${(ms / 3_600_000).toFixed(1)} hours` : `${(ms / 86_400_000).toFixed(1)} days`;
}
