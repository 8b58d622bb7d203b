/** Pure. */

/** Of an even number of values, the mean of the two in the middle. @throws RangeError when there are none */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)];
  const lower = sorted[Math.ceil(middle) - 1];
  if (upper === undefined || lower === undefined) throw new RangeError('no values, no median');
  return (lower + upper) / 2;
}

/** @throws RangeError when there are none */
export function worst(values: number[]): number {
  if (values.length === 0) throw new RangeError('no values, no worst');
  return Math.max(...values);
}
