import { describe, expect, test } from 'vitest';
import {
  type ComparedPass,
  decidePass,
  decideRound,
  type Round,
} from '../../../src/capture/precopy/converge.js';

const mib = 1024 ** 2;
const round = { next: 'round' } as const;
const smallEnough = { next: 'pause', because: 'smallEnough' } as const;
const notShrinking = { next: 'pause', because: 'notShrinking' } as const;
const usedUp = { next: 'pause', because: 'roundsUsedUp' } as const;

/** Rounds of 100 ms that copied so many MiB, and what the guest outdated meanwhile. */
function rounds(...pairs: [copied: number, outdated: number][]): Round[] {
  return pairs.map(([copied, outdated]) => {
    return { copiedBytes: copied * mib, elapsedMs: 100, outdatedBytes: outdated * mib };
  });
}

const slow = (round: Round): Round => ({ ...round, elapsedMs: 800 });

const passes = (...written: number[]) =>
  written.map((writtenBytes) => ({ comparedBytes: 1000, writtenBytes }));

describe('whether to copy another round while the guest runs', () => {
  const rate = 200 * mib;
  const tenAlike = Array.from({ length: 10 }, () => rounds([100, 70])).flat();
  test.each<[string, Round[], number, number | null, ReturnType<typeof decideRound>]>([
    ['nothing is left', rounds([1024, 0]), 0, rate, smallEnough],
    ['nothing is left, and no rate known', [], 0, null, smallEnough],
    ['1 MiB takes just 5 ms', rounds([1024, 1]), mib, rate, smallEnough],
    ['a byte more takes longer', rounds([1024, 1]), mib + 1, rate, round],
    ['how fast it goes is not known', [], mib, null, round],
    ['the guest outdated more than one round copied', rounds([100, 120]), 120 * mib, rate, round],
    ['it outdated over 80 % of two in a row', rounds([1024, 900], [900, 730]), 730 * mib, rate, notShrinking],
    ['a vain round came before a good one', rounds([100, 90], [90, 40]), 40 * mib, rate, round],
    ['a vain round came after a good one', rounds([100, 40], [40, 39]), 39 * mib, rate, round],
    ['rounds that were cut short did not come through', rounds([50, 1], [50, 1]), 700 * mib, rate, round],
    ['few rounds took all the time', rounds([1, 0.5], [1, 0.5]).map(slow), 700 * mib, rate, usedUp],
    ['it shrinks, yet for ever', tenAlike, 70 * mib, rate, usedUp],
  ])('when %s', (_, before, leftBytes, bytesPerSecond, expected) => {
    const limits = { pauseTargetMs: 5, maxRounds: 10, maxElapsedMs: 1500 };
    expect(decideRound(before, leftBytes, bytesPerSecond, limits)).toEqual(expected);
  });
});

describe('whether to compare once more while the guest runs', () => {
  test.each<[string, ComparedPass[], ReturnType<typeof decidePass>]>([
    ['nothing was compared yet', [], round],
    ['there are no data', [{ comparedBytes: 0, writtenBytes: 0 }], smallEnough],
    ['nothing differed', passes(0), smallEnough],
    ['a tenth differed', passes(100), smallEnough],
    ['more differed', passes(101), round],
    ['much less differed than before', passes(500, 200), round],
    ['about as much differed as before', passes(500, 450), notShrinking],
    ['three passes were not enough', passes(900, 500, 200), usedUp],
  ])('when %s', (_, before, expected) => {
    expect(decidePass(before)).toEqual(expected);
  });
});
