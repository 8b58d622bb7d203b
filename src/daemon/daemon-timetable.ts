import type { Config } from '../config/config.js';
import type { ScheduledEntry } from '../schedule/slot-book.js';
import { type HouseJob, houseEntry } from '../schedule/timetable.js';

/** All that a daemon of this config runs by itself at its time: backups of guests, and jobs of the house. */
export function timetableOf(config: Config): ScheduledEntry[] {
  const backups = Object.values(config.guests).flatMap(({ name, schedule, timezone, catchUp, jitterMs }) =>
    schedule === undefined ? [] : [{ name, schedule, timezone, catchUp, jitterMs }],
  );
  return [...backups, ...houseJob('verify', config.verify), ...houseJob('drill', config.drill)];
}

/** A run that was missed is made up for once: nobody stands still for it. */
function houseJob(job: HouseJob, { schedule, timezone }: HouseSchedule): ScheduledEntry[] {
  return schedule === null ? [] : [{ name: houseEntry(job), schedule, timezone, catchUp: true, jitterMs: 0 }];
}

interface HouseSchedule {
  /** null: by hand only. */
  schedule: string | null;
  timezone: string;
}
