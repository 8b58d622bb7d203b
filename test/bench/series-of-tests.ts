import type { Run, Series } from './measurement.js';

export function runOf(pausedMs: number, more: Partial<Run> = {}): Run {
  return {
    ...{ pausedMs, tickerMs: pausedMs + 1, otherGapMs: 4, jobMs: 5_000, guestBytesPerSecond: 100 * 2 ** 20 },
    ...{ memory: { ownBytes: 100 * 2 ** 20, togetherBytes: 200 * 2 ** 20 }, remark: null, inside: null },
    ...more,
  };
}

/** A series on ext4 of 1 GiB, traced, if nothing else is said. */
export function seriesOf(pausesMs: number[], more: Partial<Series> = {}): Series {
  const runs = pausesMs.map((pausedMs) => runOf(pausedMs));
  return { filesystem: 'ext4', sizeMiB: 1024, method: 'traced', runs, failures: [], ...more };
}
