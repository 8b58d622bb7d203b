import { type Finding, fine, trouble } from './finding.js';

const about = { check: 'clock', about: null } as const;
/** No umlsnap is older: a clock before it has lost its battery, or was never set. */
const earliest = '2026-01-01T00:00:00.000Z';
/** Two processes that write into the history at the same time. */
const toleranceMs = 60_000;

/** Holds the host's clock against the newest thing that was ever recorded. @param newest ISO 8601; null: nothing yet */
export function checkClock(now: Date, newest: string | null): Finding {
  const facts = { now: now.toISOString(), newestRecord: newest };
  const behindMs = newest === null ? 0 : Date.parse(newest) - now.getTime();
  if (now.toISOString() >= earliest && behindMs <= toleranceMs) {
    return fine(about, `The host's clock says ${facts.now}, later than all that is recorded.`, facts);
  }
  const against =
    behindMs > toleranceMs ? `before what was recorded at ${newest}` : 'a time before umlsnap was written';
  return trouble(about, {
    level: 'critical',
    what: `The host's clock says ${facts.now}, ${against}.`,
    means:
      'The clock is wrong now, or was then: snapshots are named by it, the schedule goes by it, and nothing is removed while a snapshot lies in the future.',
    mend: 'Set the clock (timedatectl, chronyc tracking). If it was wrong before, remove or wait for the snapshots of that time: `umlsnap list`.',
    facts,
  });
}
