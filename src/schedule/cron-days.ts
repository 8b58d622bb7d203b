import type { ParsedFields } from 'node-cron';

/** Whether a day is one of the schedule's, as node-cron has it: month, day of the month and day of the week must all match. */
export function isDayOfSchedule(fields: ParsedFields, localDay: Date): boolean {
  const date: CalendarDay = {
    year: localDay.getUTCFullYear(),
    month: localDay.getUTCMonth() + 1,
    day: localDay.getUTCDate(),
    weekday: localDay.getUTCDay(),
  };
  return (
    fields.month.includes(date.month) &&
    fields.dayOfMonth.some((value) => matchesDayOfMonth(value, date)) &&
    fields.dayOfWeek.some((value) => matchesDayOfWeek(value, date))
  );
}

interface CalendarDay {
  year: number;
  /** 1 to 12. */
  month: number;
  day: number;
  /** 0 is Sunday. */
  weekday: number;
}

/** A number, `L` (last day), `L-3`, `15W` (working day nearest to the 15th), `LW`. */
function matchesDayOfMonth(value: number | string, date: CalendarDay): boolean {
  if (typeof value === 'number') return value === date.day;
  const last = lastDayOf(date.year, date.month);
  const [, target, isNearestWeekday] = /^(\d+|L)(W?)$/.exec(value) ?? [];
  if (target !== undefined) {
    const day = target === 'L' ? last : Number(target);
    return date.day === (isNearestWeekday ? nearestWeekday(date.year, date.month, day) : day);
  }
  const [, daysBefore] = /^L-(\d+)$/.exec(value) ?? [];
  return daysBefore !== undefined && date.day === last - Number(daysBefore);
}

/** A number, `5L` (last Friday of the month), `1#2` (second Monday). */
function matchesDayOfWeek(value: number | string, date: CalendarDay): boolean {
  if (typeof value === 'number') return value % 7 === date.weekday;
  const [, weekday, , nth] = /^([0-7])(L|#([1-5]))$/.exec(value) ?? [];
  if (weekday === undefined || Number(weekday) % 7 !== date.weekday) return false;
  if (nth === undefined) return date.day + 7 > lastDayOf(date.year, date.month);
  return Math.ceil(date.day / 7) === Number(nth);
}

/** The working day nearest to this one within its month; null when the month has no such day. */
function nearestWeekday(year: number, month: number, day: number): number | null {
  const last = lastDayOf(year, month);
  if (day < 1 || day > last) return null;
  const weekday = new Date(Date.UTC(year, month - 1, day)).getUTCDay();
  if (weekday === 6) return day === 1 ? 3 : day - 1;
  if (weekday === 0) return day === last ? day - 2 : day + 1;
  return day;
}

function lastDayOf(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate();
}
