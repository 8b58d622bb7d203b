import type { WitnessedPause } from './witness.js';

/** What the ticker in the guest says (guest/ticker.c). Pure. */

export type Gap = ReturnType<typeof parseGaps>[number];

/** The ticker notes no gap shorter than this. */
const shortestGapMs = 1;

/** @throws Error when the ticker has lost gaps, or says what it should not */
export function parseGaps(text: string) {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [, end, length] = /^(\d+) (\d+)$/.exec(line) ?? [];
      if (length === undefined) throw new Error(`the ticker in the guest says ${line}`);
      // By the processor's own counter, which guest and host share: their clocks may be some ms apart.
      return { endCount: Number(end), lengthMs: Number(length) / 1e6 };
    });
}

/** The longest gap at the time of the pause, and the longest at any other time, as far as they were long enough to be noted. */
export function gapsAround(gaps: Gap[], pauses: WitnessedPause[]) {
  const isAtPause = (gap: Gap) => pauses.some((pause) => meets(gap, pause));
  return {
    atPauseMs: longest(gaps.filter(isAtPause)),
    elsewhereMs: longest(gaps.filter((gap) => !isAtPause(gap))),
  };
}

const longest = (gaps: Gap[]) => Math.max(shortestGapMs, ...gaps.map(({ lengthMs }) => lengthMs));

function meets({ endCount, lengthMs }: Gap, { pausedMs, fromCount, toCount }: WitnessedPause): boolean {
  const countsPerMs = (toCount - fromCount) / pausedMs;
  return endCount >= fromCount && endCount - lengthMs * countsPerMs <= toCount;
}
