import { isTimezone } from '../config/cron-expression.js';
import { type Finding, fine, trouble } from './finding.js';

const about = { check: 'timezone', about: null } as const;

export interface TimezoneLook {
  /** `TZ` of our environment. */
  environment: string | undefined;
  /** What Node takes for the system's. */
  system: string;
  /** Of each guest that has a schedule. */
  scheduled: { guest: string; timezone: string }[];
}

/** In which time zone schedules are read, and whether that is what was meant. */
export function checkTimezone({ environment, system, scheduled }: TimezoneLook): Finding {
  const zones = [...new Set(scheduled.map(({ timezone }) => timezone))].sort();
  const facts = { system, zones };
  const name = environment?.replace(/^:/, '');
  if (name && !name.startsWith('/') && !isTimezone(name)) {
    return trouble(about, {
      level: 'warning',
      what: `TZ=${environment} is no time zone that this system knows; ${system} is used in its place.`,
      means: 'Schedules without `timezone:` run at other hours than you think.',
      mend: 'Correct TZ, or install the tzdata package, or give `timezone:` in the config.',
      facts,
    });
  }
  const read = zones.length === 0 ? 'No guest has a schedule' : `Schedules are read in ${zones.join(', ')}`;
  return fine(about, `${read}; the system's time zone is ${system}.`, facts);
}
