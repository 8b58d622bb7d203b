import type { WitnessedPause } from './witness.js';

/** What the ticker in the guest says (guest/ticker.c). Pure. */

export interface Gap {
  /** By the processor's own counter, which guest and host share: their clocks may be some ms apart. */
  endCount: number;
  lengthMs: number;
}

/** The ticker notes no gap shorter than this. */
export const shortestGapMs = 1;

/** @throws Error when the ticker has lost gaps, or says what it should not */
export function parseGaps(text: string): Gap[] {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const [, end, length] = /^(\d+) (\d+)$/.exec(line) ?? [];
    if (end === undefined || length === undefined) throw new Error(`the ticker in the guest says ${line}`);
    return { endCount: Number(end), lengthMs: Number(length) / 1e6 };
  });
}

function meets({ endCount, lengthMs }: Gap, { pausedMs, fromCount, toCount }: WitnessedPause): boolean {
  const countsPerMs = (toCount - fromCount) / pausedMs;
  return endCount >= fromCount && endCount - lengthMs * countsPerMs <= toCount;
}

const longest = (gaps: Gap[]) => Math.max(0, ...gaps.map(({ lengthMs }) => lengthMs));

/** The longest gap at the time of the pause, and the longest at any other time; 0: none was long enough to be noted. */
export function gapsAround(
  gaps: Gap[],
  pauses: WitnessedPause[],
): { atPauseMs: number; elsewhereMs: number } {
  const atPause = gaps.filter((gap) => pauses.some((pause) => meets(gap, pause)));
  return {
    atPauseMs: longest(atPause),
    elsewhereMs: longest(gaps.filter((gap) => !atPause.includes(gap))),
  };
}
