/** Between instants and the wall-clock of a time zone. Local times are held as if they were UTC, in milliseconds. */

const dayMs = 86_400_000;

interface Zone {
  formatter: Intl.DateTimeFormat;
  /** Reading the clock of a zone is slow, and all guests of a zone ask for the same few instants. */
  offsetMsByInstant: Map<number, number>;
}

const zones = new Map<string, Zone>();
const maxRemembered = 1000;

/** How far the zone's wall-clock is ahead of UTC at this instant. */
export function offsetMsAt(timezone: string, instantMs: number): number {
  const { formatter, offsetMsByInstant } = zoneOf(timezone);
  const known = offsetMsByInstant.get(instantMs);
  if (known !== undefined) return known;
  const parts = new Map(formatter.formatToParts(instantMs).map(({ type, value }) => [type, Number(value)]));
  const part = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? 0;
  const localMs = Date.UTC(
    part('year'),
    part('month') - 1,
    part('day'),
    part('hour'),
    part('minute'),
    part('second'),
  );
  const offsetMs = localMs - Math.floor(instantMs / 1000) * 1000;
  if (offsetMsByInstant.size >= maxRemembered) offsetMsByInstant.clear();
  offsetMsByInstant.set(instantMs, offsetMs);
  return offsetMs;
}

/** The clock around a local day. Zones change at most once within three days. */
export interface ClockOfDay {
  offsetBeforeMs: number;
  offsetAfterMs: number;
  /** The first instant with the second offset; -Infinity where the clock does not change. */
  changeAtMs: number;
}

/** The clock from the day before this local midnight to the day after. */
export function clockOfDay(timezone: string, localDayMs: number): ClockOfDay {
  const fromMs = localDayMs - dayMs;
  const toMs = localDayMs + 2 * dayMs;
  const offsetBeforeMs = offsetMsAt(timezone, fromMs);
  const offsetAfterMs = offsetMsAt(timezone, toMs);
  const isSteady = offsetBeforeMs === offsetAfterMs;
  const changeAtMs = isSteady ? Number.NEGATIVE_INFINITY : findChange(timezone, fromMs, toMs, offsetAfterMs);
  return { offsetBeforeMs, offsetAfterMs, changeAtMs };
}

/** When the clock shows this local time: at no instant (the clock jumps over it), at one, or at two, in order. */
export function instantsOf(clock: ClockOfDay, localMs: number): number[] {
  const before = localMs - clock.offsetBeforeMs;
  const after = localMs - clock.offsetAfterMs;
  return [...(before < clock.changeAtMs ? [before] : []), ...(after >= clock.changeAtMs ? [after] : [])];
}

function findChange(timezone: string, fromMs: number, toMs: number, offsetAfterMs: number): number {
  let before = fromMs;
  let after = toMs;
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (offsetMsAt(timezone, middle) === offsetAfterMs) after = middle;
    else before = middle;
  }
  return after;
}

function zoneOf(timezone: string): Zone {
  let zone = zones.get(timezone);
  if (zone === undefined) {
    const formatter = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    zone = { formatter, offsetMsByInstant: new Map() };
    zones.set(timezone, zone);
  }
  return zone;
}
