/** The spans of local time that the keep rules count: hours, days, ISO weeks, months, years. */

export const bucketRules = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
export type BucketRule = (typeof bucketRules)[number];

/** Name of the span that this instant lies in: `2026-11-21 03h +01:00`, `2026-11-21`, `2026-W47`, `2026-11`, `2026`. */
export function bucketOf(rule: BucketRule, instant: Date, timezone: string): string {
  const { year, month, day, hour, offset } = localParts(instant, timezone);
  switch (rule) {
    case 'hourly':
      // With the offset, as an hour that comes twice in autumn is two hours.
      return `${year}-${month}-${day} ${hour}h ${offset}`;
    case 'daily':
      return `${year}-${month}-${day}`;
    case 'weekly':
      return isoWeek(Number(year), Number(month), Number(day));
    case 'monthly':
      return `${year}-${month}`;
    case 'yearly':
      return year;
  }
}

/** `2026-W47`: the week belongs to the year of its Thursday. */
function isoWeek(year: number, month: number, day: number): string {
  const thursday = new Date(Date.UTC(year, month - 1, day));
  thursday.setUTCDate(day + 4 - (thursday.getUTCDay() || 7));
  const dayOfYear = (thursday.getTime() - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / 86_400_000;
  return `${thursday.getUTCFullYear()}-W${String(Math.floor(dayOfYear / 7) + 1).padStart(2, '0')}`;
}

interface LocalParts {
  year: string;
  month: string;
  day: string;
  hour: string;
  offset: string;
}

const formatters = new Map<string, Intl.DateTimeFormat>();

/** Since 1972 every zone's offset, and every change of it, falls on a whole quarter of an hour: within one, nothing here changes. */
const quarterMs = 900_000;
const partsOfQuarters = new Map<string, LocalParts>();
const maxQuarters = 20_000;

/** Asked again and again for the same instants, by each rule and at each sweep. */
function localParts(instant: Date, timezone: string): LocalParts {
  const key = `${timezone} ${Math.floor(instant.getTime() / quarterMs)}`;
  const known = partsOfQuarters.get(key);
  if (known !== undefined) return known;
  if (partsOfQuarters.size >= maxQuarters) partsOfQuarters.clear();
  const parts = formatParts(instant, timezone);
  partsOfQuarters.set(key, parts);
  return parts;
}

function formatParts(instant: Date, timezone: string): LocalParts {
  let formatter = formatters.get(timezone);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      timeZoneName: 'longOffset',
    });
    formatters.set(timezone, formatter);
  }
  const parts = new Map(formatter.formatToParts(instant).map(({ type, value }) => [type, value]));
  const part = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? '';
  return {
    year: part('year'),
    month: part('month'),
    day: part('day'),
    hour: part('hour'),
    offset: part('timeZoneName'),
  };
}
