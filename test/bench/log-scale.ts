/** A logarithmic axis. Pure. */

export interface LogScale {
  at(value: number): number;
}

/** From `low`, at `from`, to `high`, at `to`. */
export function logScale([low, high]: [number, number], [from, to]: [number, number]): LogScale {
  const step = (to - from) / (Math.log10(high) - Math.log10(low));
  return { at: (value) => from + (Math.log10(value) - Math.log10(low)) * step };
}

/** The powers of ten that hold all of these values. */
export function decadesAround(values: number[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  return Array.from({ length: high - low + 1 }, (_, n) => 10 ** (low + n));
}

/** Moves labels that would touch down, as little as can be: each stands at least `apart` below the one above it. */
export function spreadOut(wanted: number[], apart: number): number[] {
  const placed = [...wanted];
  let lowest = Number.NEGATIVE_INFINITY;
  for (const { at, index } of wanted.map((at, index) => ({ at, index })).sort((a, b) => a.at - b.at)) {
    lowest = Math.max(at, lowest + apart);
    placed[index] = lowest;
  }
  return placed;
}
