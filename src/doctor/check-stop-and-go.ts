import { type Finding, fine, trouble } from './finding.js';

/** What came of two stops and goes, or why there were none. */
export type RoundTrips =
  | { tried: true; pausedMs: number[]; error: { code: string; message: string } | null }
  | { tried: false; why: string };

/** Two, since what breaks a console is the first. */
export const wantedRoundTrips = 2;

export function checkStopAndGo(guest: string, trips: RoundTrips): Finding {
  const about = { check: 'stopAndGo', about: guest } as const;
  if (!trips.tried) return fine(about, `Not tried: ${trips.why}.`, { tried: false });
  const { pausedMs, error } = trips;
  const facts = { ...trips };
  const each = pausedMs.map((ms) => `${ms} ms`).join(' and ');
  if (error === null)
    return fine(about, `Was stopped and resumed ${pausedMs.length} times, for ${each}.`, facts);
  if (error.code === 'Busy') return fine(about, `Not tried: ${error.message}`, { tried: false });
  return trouble(about, {
    level: 'critical',
    what: error.message,
    means: `A stop and go fails${pausedMs.length > 0 ? ` after ${pausedMs.length} that worked` : ''}: so will a backup.`,
    mend: '`umlsnap status` shows whether it runs; `umlsnap recover` resumes what is left paused. A console that went deaf comes back with a boot of the guest: see its kernel.',
    facts,
  });
}
