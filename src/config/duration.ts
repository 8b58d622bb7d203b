/** Durations as people write them, `250ms 5s 10m 1h30m 1d 2w`, and as the project holds them: milliseconds. */

const msByUnit = { w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;
type Unit = keyof typeof msByUnit;

const wholePattern = /^(?:\d+(?:\.\d+)?(?:ms|[wdhms]))+$/;
const partPattern = /(\d+(?:\.\d+)?)(ms|[wdhms])/g;

/**
 * Milliseconds of a duration, or null when the text is none. Several parts stand from the largest unit to the
 * smallest; the sum is a whole number of milliseconds. A number without a unit is no duration.
 */
export function parseDuration(text: string): number | null {
  if (!wholePattern.test(text)) return null;
  let totalMs = 0;
  let previousUnitMs = Number.POSITIVE_INFINITY;
  for (const [, amount, unit] of text.matchAll(partPattern)) {
    const unitMs = msByUnit[unit as Unit];
    if (unitMs >= previousUnitMs) return null;
    previousUnitMs = unitMs;
    totalMs += Number(amount) * unitMs;
  }
  const wholeMs = Math.round(totalMs);
  return Math.abs(totalMs - wholeMs) < 1e-6 && Number.isSafeInteger(wholeMs) ? wholeMs : null;
}

/**
 * A duration for people, in at most two units: `0.12ms`, `2.1ms`, `250ms`, `5.3s`, `1m30s`, `3d4h`. What it says is
 * within half of its last digit; `parseDuration` reads it back, apart from fractions of a millisecond.
 */
export function formatDuration(durationMs: number): string {
  if (durationMs < 0) return `-${formatDuration(-durationMs)}`;
  if (durationMs < 1) return `${trimZeros(durationMs.toFixed(2))}ms`;
  if (durationMs < 99.95) return `${trimZeros(durationMs.toFixed(1))}ms`;
  if (durationMs < 999.5) return `${Math.round(durationMs)}ms`;
  if (durationMs < 59_950) return `${trimZeros((durationMs / 1000).toFixed(1))}s`;
  if (durationMs < 3_599_500) return formatInTwoUnits(durationMs, 'm', 's');
  if (durationMs < 86_370_000) return formatInTwoUnits(durationMs, 'h', 'm');
  return formatInTwoUnits(durationMs, 'd', 'h');
}

/** A duration as a config has it: to the millisecond. */
export function exactDuration(durationMs: number): string {
  let restMs = durationMs;
  const parts = Object.entries(msByUnit).map(([unit, unitMs]) => {
    const amount = Math.floor(restMs / unitMs);
    restMs -= amount * unitMs;
    return amount === 0 ? '' : `${amount}${unit}`;
  });
  return parts.join('') || '0ms';
}

function formatInTwoUnits(durationMs: number, large: Unit, small: Unit): string {
  const ratio = msByUnit[large] / msByUnit[small];
  const smallUnits = Math.round(durationMs / msByUnit[small]);
  const rest = smallUnits % ratio;
  return `${Math.floor(smallUnits / ratio)}${large}${rest === 0 ? '' : `${rest}${small}`}`;
}

function trimZeros(decimal: string): string {
  return decimal.replace(/\.?0+$/, '') || '0';
}
