/** Between instants and the wall-clock of a time zone. Local times are held as if they were UTC, in milliseconds. */

const dayMs = 86_400_000;

const formatters = new Map<string, Intl.DateTimeFormat>();

/** How far the zone's wall-clock is ahead of UTC at this instant. */
export function offsetMsAt(timezone: string, instantMs: number): number {
  const parts = new Map(
    formatterOf(timezone)
      .formatToParts(instantMs)
      .map(({ type, value }) => [type, Number(value)]),
  );
  const part = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? 0;
  const localMs = Date.UTC(
    part('year'),
    part('month') - 1,
    part('day'),
    part('hour'),
    part('minute'),
    part('second'),
  );
  return localMs - Math.floor(instantMs / 1000) * 1000;
}

export type LocalInstants =
  /** One instant, or both of an hour that the clock goes through twice, the first of them first. */
  | { kind: 'exists'; instantsMs: [number, ...number[]] }
  /** The clock jumps over it; the first instant after the gap. */
  | { kind: 'gap'; afterGapMs: number };

/** The instants at which the wall-clock shows this local time. Zones change at most once within two days. */
export function instantsOf(timezone: string, localMs: number): LocalInstants {
  const offsetBefore = offsetMsAt(timezone, localMs - dayMs);
  const offsetAfter = offsetMsAt(timezone, localMs + dayMs);
  const candidates = [...new Set([localMs - offsetBefore, localMs - offsetAfter])];
  const [first, ...others] = candidates
    .filter((instantMs) => instantMs + offsetMsAt(timezone, instantMs) === localMs)
    .sort((a, b) => a - b);
  if (first !== undefined) return { kind: 'exists', instantsMs: [first, ...others] };
  return { kind: 'gap', afterGapMs: changeOfOffset(timezone, localMs - offsetAfter, localMs - offsetBefore) };
}

/** The one offset of the whole local day that begins here, or null when the clock changes on it or beside it. */
export function steadyOffsetMs(timezone: string, localDayStartMs: number): number | null {
  const before = offsetMsAt(timezone, localDayStartMs - dayMs);
  return before === offsetMsAt(timezone, localDayStartMs + 2 * dayMs) ? before : null;
}

/** The first instant after `fromMs`, and not after `toMs`, that has the offset of `toMs`. */
function changeOfOffset(timezone: string, fromMs: number, toMs: number): number {
  const offsetAfter = offsetMsAt(timezone, toMs);
  let before = fromMs;
  let after = toMs;
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (offsetMsAt(timezone, middle) === offsetAfter) after = middle;
    else before = middle;
  }
  return after;
}

function formatterOf(timezone: string): Intl.DateTimeFormat {
  let formatter = formatters.get(timezone);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formatters.set(timezone, formatter);
  }
  return formatter;
}
