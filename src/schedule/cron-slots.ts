import { type ParsedFields, parse } from 'node-cron';
import { isDayOfSchedule } from './cron-days.js';
import { clockOfDay, instantsOf, offsetMsAt } from './local-time.js';

/**
 * The instants at which a cron expression is due in a time zone. node-cron's own reckoning loses slots on the days on
 * which clocks change; here
 * - a slot in the hour that is jumped over comes once, at the first instant after the gap;
 * - a slot in the hour that comes twice comes once, the first time;
 * - a schedule of every hour (`15 * * * *`) follows real time: in each hour that happens, twice in the one that comes twice.
 */

const dayMs = 86_400_000;
/** As far as node-cron looks: 29 February on a Monday comes every 28 years, or 40 around 2100. */
const maxDays = 366 * 100;

/** The first slot after `after`, or null when there is none within a hundred years. Throws node-cron's error for a bad expression. */
export function nextSlot(expression: string, timezone: string, after: Date): Date | null {
  const cron = cronOf(expression, timezone);
  const firstDayMs = localDayOf(timezone, after.getTime()) - dayMs;
  for (let day = 0; day < maxDays; day++) {
    const slotMs = slotsOfDay(cron, firstDayMs + day * dayMs).find((ms) => ms > after.getTime());
    if (slotMs !== undefined) return new Date(slotMs);
  }
  return null;
}

/** The slots after `after` and up to and including `upTo`, in order: the newest `limit` of them. */
export function slotsBetween(
  expression: string,
  timezone: string,
  after: Date,
  upTo: Date,
  limit: number,
): Date[] {
  const cron = cronOf(expression, timezone);
  const newestFirst: number[] = [];
  const lastDayMs = localDayOf(timezone, after.getTime()) - dayMs;
  let localDayMs = localDayOf(timezone, upTo.getTime()) + dayMs;
  for (; localDayMs >= lastDayMs && newestFirst.length < limit; localDayMs -= dayMs) {
    for (const slotMs of slotsOfDay(cron, localDayMs).toReversed()) {
      const isIn = slotMs > after.getTime() && slotMs <= upTo.getTime();
      // A slot after a gap that ends at midnight is the next day's as well.
      if (isIn && slotMs !== newestFirst.at(-1)) newestFirst.push(slotMs);
    }
  }
  return newestFirst
    .slice(0, limit)
    .reverse()
    .map((slotMs) => new Date(slotMs));
}

/** Midnight of the local day, as if it were UTC. */
function localDayOf(timezone: string, instantMs: number): number {
  return Math.floor((instantMs + offsetMsAt(timezone, instantMs)) / dayMs) * dayMs;
}

interface Cron {
  fields: ParsedFields;
  timezone: string;
  slotsByDay: Map<number, readonly number[]>;
}

/** Two hundred guests with one schedule ask for the same few days, every few seconds. */
const crons = new Map<string, Cron>();
const maxCrons = 1000;
const maxDaysOfCron = 16;

function cronOf(expression: string, timezone: string): Cron {
  const key = `${expression}\n${timezone}`;
  let cron = crons.get(key);
  if (cron === undefined) {
    cron = { fields: parse(expression), timezone, slotsByDay: new Map() };
    if (crons.size >= maxCrons) crons.clear();
    crons.set(key, cron);
  }
  return cron;
}

/** In order, without repetition. */
function slotsOfDay({ fields, timezone, slotsByDay }: Cron, localDayMs: number): readonly number[] {
  const known = slotsByDay.get(localDayMs);
  if (known !== undefined) return known;
  if (!isDayOfSchedule(fields, new Date(localDayMs))) return [];
  const clock = clockOfDay(timezone, localDayMs);
  const isEveryHour = fields.hour.length === 24;
  const slots = timesOfDay(fields).flatMap((timeMs) => {
    const instantsMs = instantsOf(clock, localDayMs + timeMs);
    if (isEveryHour) return instantsMs;
    return [instantsMs[0] ?? clock.changeAtMs];
  });
  const inOrder = [...new Set(slots)].sort((a, b) => a - b);
  if (slotsByDay.size >= maxDaysOfCron) slotsByDay.clear();
  slotsByDay.set(localDayMs, inOrder);
  return inOrder;
}

/** In order, in milliseconds since midnight. */
function timesOfDay({ hour, minute, second }: ParsedFields): number[] {
  const times = hour.flatMap((h) => minute.flatMap((m) => second.map((s) => ((h * 60 + m) * 60 + s) * 1000)));
  return [...new Set(times)].sort((a, b) => a - b);
}
