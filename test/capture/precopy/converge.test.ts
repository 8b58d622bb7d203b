import { describe, expect, test } from 'vitest';
import { decidePass, decideRound, type Round } from '../../../src/capture/precopy/converge.js';

const mib = 1024 ** 2;
const limits = { pauseTargetMs: 5, maxRounds: 10, maxElapsedMs: 1500 };
const rate = 200 * mib;

/** Rounds of 100 ms that copied so many MiB, and what the guest outdated meanwhile. */
function rounds(...pairs: [copied: number, outdated: number][]): Round[] {
  return pairs.map(([copied, outdated]) => ({
    copiedBytes: copied * mib,
    elapsedMs: 100,
    outdatedBytes: outdated * mib,
  }));
}

describe('whether to copy another round while the guest runs', () => {
  test.each<[string, Round[], number, number | null, ReturnType<typeof decideRound>]>([
    ['nothing is left', rounds([1024, 0]), 0, rate, { next: 'pause', because: 'smallEnough' }],
    ['nothing is left, and no rate known', [], 0, null, { next: 'pause', because: 'smallEnough' }],
    ['1 MiB takes just 5 ms', rounds([1024, 1]), mib, rate, { next: 'pause', because: 'smallEnough' }],
    ['a byte more takes longer', rounds([1024, 1]), mib + 1, rate, { next: 'round' }],
    ['how fast it goes is not known', [], mib, null, { next: 'round' }],
    ['the guest outdated more than one round copied', rounds([100, 120]), 120 * mib, rate, { next: 'round' }],
    [
      'it outdated over 80 % of two rounds in a row',
      rounds([1024, 900], [900, 730]),
      730 * mib,
      rate,
      { next: 'pause', because: 'notShrinking' },
    ],
    ['a vain round came before a good one', rounds([100, 90], [90, 40]), 40 * mib, rate, { next: 'round' }],
    ['a vain round came after a good one', rounds([100, 40], [40, 39]), 39 * mib, rate, { next: 'round' }],
    [
      'rounds that were cut short have not come through what was left before',
      rounds([50, 1], [50, 1]),
      700 * mib,
      rate,
      { next: 'round' },
    ],
    [
      'few rounds took all the time',
      rounds([1, 0.5], [1, 0.5]).map((round) => ({ ...round, elapsedMs: 800 })),
      700 * mib,
      rate,
      { next: 'pause', because: 'roundsUsedUp' },
    ],
    [
      'it shrinks, yet for ever',
      Array.from({ length: 10 }, () => rounds([100, 70])).flat(),
      70 * mib,
      rate,
      { next: 'pause', because: 'roundsUsedUp' },
    ],
  ])('when %s', (_, before, leftBytes, bytesPerSecond, expected) => {
    expect(decideRound(before, leftBytes, bytesPerSecond, limits)).toEqual(expected);
  });
});

describe('whether to compare once more while the guest runs', () => {
  const pass = (writtenBytes: number) => ({ comparedBytes: 1000, writtenBytes });
  test.each<[string, number[], ReturnType<typeof decidePass>]>([
    ['nothing was compared yet', [], { next: 'round' }],
    ['nothing differed', [0], { next: 'pause', because: 'smallEnough' }],
    ['a tenth differed', [100], { next: 'pause', because: 'smallEnough' }],
    ['more differed', [101], { next: 'round' }],
    ['much less differed than before', [500, 200], { next: 'round' }],
    ['about as much differed as before', [500, 450], { next: 'pause', because: 'notShrinking' }],
    ['three passes were not enough', [900, 500, 200], { next: 'pause', because: 'roundsUsedUp' }],
  ])('when %s', (_, written, expected) => {
    expect(decidePass(written.map(pass))).toEqual(expected);
  });

  test('a disk without data is not compared for ever', () => {
    expect(decidePass([{ comparedBytes: 0, writtenBytes: 0 }])).toMatchObject({ next: 'pause' });
  });
});
