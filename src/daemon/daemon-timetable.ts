import type { Config } from '../config/config.js';
import type { ScheduledEntry } from '../schedule/schedule-state.js';
import { type GlobalJob, globalEntry } from '../schedule/timetable.js';

/** All that a daemon of this config runs by itself at its time: backups of guests, and global jobs. */
export function timetableOf(config: Config): ScheduledEntry[] {
  const backups = Object.values(config.guests).flatMap(({ name, schedule, timezone, catchUp, jitterMs }) =>
    schedule === undefined ? [] : [{ name, schedule, timezone, catchUp, jitterMs }],
  );
  return [...backups, ...globalJob('verify', config.verify), ...globalJob('drill', config.drill)];
}

/** A run that was missed is made up for once: nobody stands still for it. */
function globalJob(job: GlobalJob, { schedule, timezone }: GlobalSchedule): ScheduledEntry[] {
  return schedule === null
    ? []
    : [{ name: globalEntry(job), schedule, timezone, catchUp: true, jitterMs: 0 }];
}

interface GlobalSchedule {
  /** null: by hand only. */
  schedule: string | null;
  timezone: string;
}
